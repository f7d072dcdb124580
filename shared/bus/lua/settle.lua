-- What becomes of an attempt that failed, fell silent, or whose node is lost. The router decided on
-- what it read; a decision that the record has outrun is refused, and the router decides again.
--! keys fence:string request:hash body:string context:string chain:string result:string waiters:list flight:zset waiting:zset node:stream failed:stream attempt_failed:stream
--! args token time id attempt group node_lost verdict position not_before_ms charge reason final_reason data attempt_data
if redis.call('GET', key_fence) ~= token then return { 'fenced' } end
local record = redis.call('HMGET', key_request, 'state', 'attempt', 'entry', 'deadline_ms', 'first_byte_ms', 'admitted_ms',
  'inbox_entry')
local state = record[1]
if not state or state == 'final' then
  if record[3] then
    redis.call('XACK', key_node, group, record[3])
    redis.call('XDEL', key_node, record[3])
  end
  redis.call('ZREM', key_flight, id)
  return { 'state', state or 'none' }
end
if state == 'waiting' then
  redis.call('ZREM', key_flight, id)
  return { 'state', 'waits_already' }
end
if record[2] ~= attempt then return { 'state', 'attempt' } end
local now = now_ms()
if state ~= 'released' and node_lost ~= '1' then
  local lease_end = redis.call('ZSCORE', key_flight, id)
  if lease_end and tonumber(lease_end) > now then return { 'alive' } end
end
if verdict == 'waiting' then
  if record[5] then return { 'first_byte' } end
  if tonumber(record[4]) <= now then return { 'deadline' } end
end
if record[3] then
  redis.call('XACK', key_node, group, record[3])
  redis.call('XDEL', key_node, record[3])
end
if state ~= 'released' then
  redis.call('HSET', key_request, 'last_reason', reason)
  redis.call('HINCRBY', key_request, 'charged', charge)
  publish_story(key_request, key_attempt_failed,
    event_of_attempt('router', time, id, record[7], attempt, 'inference.attempt_failed.v1'), attempt_data)
end
if verdict == 'failed' then
  publish_story(key_request, key_failed, event_of_end('router', time, id, record[7], 'inference.failed.v1'), data)
  answer(key_request, key_waiters, id, attempt, 'failed', data)
  bury({ request = key_request, body = key_body, context = key_context, chain = key_chain,
    result = key_result, waiters = key_waiters, flight = key_flight }, id, 'failed', final_reason, data)
  return { 'failed' }
end
redis.call('HSET', key_request, 'state', 'waiting', 'position', position, 'not_before_ms', not_before_ms,
  'executor', '', 'stop', '')
redis.call('ZREM', key_flight, id)
redis.call('ZADD', key_waiting, record[6], id)
return { 'waiting' }
