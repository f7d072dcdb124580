-- The executor's last word on an attempt: the request is completed, or released for the router to settle.
--! keys request:hash? body:any context:any chain:any result:any waiters:list flight:zset node:stream? completed:stream attempt_failed:stream*
--! args time id attempt executor entry group outcome reason charge data
local record = redis.call('HMGET', key_request, 'state', 'attempt', 'executor', 'inbox_entry')
local bad = outcome == 'released' and mistyped('stream', key_attempt_failed)
if bad then return bad end
redis.call('XACK', key_node, group, entry)
redis.call('XDEL', key_node, entry)
if record[1] == 'final' and record[2] == attempt then redis.call('ZREM', key_flight, id) end
if record[1] ~= 'running' or record[2] ~= attempt or record[3] ~= executor then return { 'fenced' } end
if outcome == 'released' then
  redis.call('HSET', key_request, 'state', 'released', 'last_reason', reason, 'released_ms', now_ms())
  redis.call('HINCRBY', key_request, 'charged', charge)
  redis.call('ZADD', key_flight, 0, id)
  publish_story(key_request, key_attempt_failed,
    event_of_attempt('inference-worker', time, id, record[4], attempt, 'inference.attempt_failed.v1'), data)
  return { 'ok' }
end
publish_story(key_request, key_completed,
  event_of_end('inference-worker', time, id, record[4], 'inference.completed.v1'), data)
answer(key_request, key_waiters, id, attempt, 'completed', data)
bury({ request = key_request, body = key_body, context = key_context, chain = key_chain,
  result = key_result, waiters = key_waiters, flight = key_flight }, id, 'completed', '', data)
return { 'ok' }
