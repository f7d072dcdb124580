-- A waiting request becomes an attempt for a node's worker.
--! keys fence:string? request:hash? waiting:zset? flight:zset node:stream routed:stream
--! args token time id attempt node model position lease_ms route routed_data dispatched_data
if redis.call('GET', key_fence) ~= token then return { 'fenced' } end
local record = redis.call('HMGET', key_request, 'state', 'attempt', 'node', 'inbox_entry')
if record[1] == 'dispatched' and record[2] == attempt and record[3] == node then return { 'ok' } end
if record[1] ~= 'waiting' or tonumber(record[2]) + 1 ~= tonumber(attempt) then
  return { 'state', record[1] or 'none' }
end
if redis.call('ZREM', key_waiting, id) == 0 then return { 'state', 'waiting' } end
send_off({ request = key_request, flight = key_flight, node = key_node, routed = key_routed }, time, id, record[4], {
  attempt = attempt, node = node, model = model, position = position, route = route,
  lease_ms = lease_ms, routed_data = routed_data, dispatched_data = dispatched_data }, now_ms())
return { 'ok' }
