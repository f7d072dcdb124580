-- A leader commands a node, once; one that was succeeded without noticing commands nothing.
--! keys fence:string node:stream guard:string
--! args token
--! events event
if redis.call('GET', key_fence) ~= token then return { 'fenced' } end
if redis.call('EXISTS', key_guard) == 1 then return { 'duplicate' } end
local entry = publish(key_node, event)
redis.call('SET', key_guard, '1', 'EX', 600)
return { 'ok', entry }
