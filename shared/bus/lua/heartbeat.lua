-- A node has one worker: the instance that holds its name. Publishes the beat, if there is one
-- yet, only for that one.
--! keys node:string heartbeat:stream
--! args instance replaces ttl_ms
--! events event
local holder = redis.call('GET', key_node)
if holder and holder ~= instance and holder ~= replaces then
  bound_ttl(key_node, ttl_ms)
  return { 'occupied', holder }
end
redis.call('SET', key_node, instance, 'PX', ttl_ms)
if event.last >= event.first then publish(key_heartbeat, event) end
return { 'ok' }
