-- Publishes an event once, however often the call is repeated within ten minutes.
--! keys stream:stream guard:string
--! events event
if redis.call('EXISTS', key_guard) == 1 then return { 'duplicate' } end
local entry = publish(key_stream, event)
redis.call('SET', key_guard, '1', 'EX', 600)
return { 'ok', entry }
