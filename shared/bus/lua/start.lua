-- A worker takes an attempt: it is executed at most once, by one executor token.
--! keys request:hash? body:string? context:string? flight:zset node:stream* started:stream
--! args time id attempt node executor entry group lease_ms started_data
local record = redis.call('HMGET', key_request, 'state', 'attempt', 'node', 'executor', 'started_ms',
  'operation', 'maxtokens', 'replyto', 'replymode', 'admitted_ms', 'inbox_entry')
local body, context = redis.call('GET', key_body), redis.call('GET', key_context)
local function taken(started_ms)
  local told = { record[6], record[7], record[8], record[9], record[10], tostring(started_ms) }
  return { 'ok', body, told, context }
end
local mine = record[2] == attempt and record[3] == node
if mine and record[1] == 'running' and record[4] == executor then
  return taken(record[5])
end
if not mine or record[1] ~= 'dispatched' then
  redis.call('XACK', key_node, group, entry)
  redis.call('XDEL', key_node, entry)
  if mine and record[1] == 'final' then redis.call('ZREM', key_flight, id) end
  return { 'stale', record[1] or 'none' }
end
local now = now_ms()
redis.call('HSET', key_request, 'state', 'running', 'executor', executor, 'started_ms', now)
redis.call('ZADD', key_flight, 'XX', now + lease_ms, id)
publish_about(key_request, key_started,
  event_of_attempt('inference-worker', time, id, record[11], attempt, 'inference.started.v1'), started_data)
return taken(now)
