-- A waiting request becomes an attempt for a node's worker.
--! keys fence:string? request:hash? waiting:zset? flight:zset node:stream routed:stream
--! args token time id attempt node model position lease_ms route routed_data dispatched_data
if redis.call('GET', key_fence) ~= token then return { 'fenced' } end
local record = redis.call('HMGET', key_request, 'state', 'attempt', 'node')
if record[1] == 'dispatched' and record[2] == attempt and record[3] == node then return { 'ok' } end
if record[1] ~= 'waiting' or tonumber(record[2]) + 1 ~= tonumber(attempt) then
  return { 'state', record[1] or 'none' }
end
if redis.call('ZREM', key_waiting, id) == 0 then return { 'state', 'waiting' } end
local now = now_ms()
local dispatched = event_of_attempt('router', time, id, attempt, 'inference.dispatched.v1')
local entry = redis.call('XADD', key_node, '*', 'data', dispatched_data, unpack(dispatched))
redis.call('HSET', key_request, 'state', 'dispatched', 'attempt', attempt, 'node', node, 'model', model,
  'position', position, 'entry', entry, 'executor', '', 'route', route, 'dispatched_ms', now, 'started_ms', '')
redis.call('ZADD', key_flight, now + lease_ms, id)
publish_about(key_request, key_routed, event_of_attempt('router', time, id, attempt, 'inference.routed.v1'), routed_data)
return { 'ok' }
