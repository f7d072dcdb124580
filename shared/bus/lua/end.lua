-- A request ends from outside: cancelled, or failed by its deadline. Before its entry was admitted,
-- a mark is left that admit will find.
--! keys fence:string request:hash body:string context:string chain:string result:string waiters:list flight:zset waiting:zset cancelled:stream failed:stream stop:stream
--! args token time id outcome reason node only_waiting data stop_data
if redis.call('GET', key_fence) ~= token then return { 'fenced' } end
local record = redis.call('HMGET', key_request, 'state', 'attempt', 'node', 'priority', 'inbox_entry')
local state = record[1]
if not state then
  if outcome ~= 'cancelled' then return { 'none' } end
  redis.call('HSET', key_request, 'state', 'cancelled_early')
  redis.call('EXPIRE', key_request, DEDUP_S)
  return { 'early' }
end
if state == 'final' or state == 'cancelled_early' then return { 'final' } end
local at_worker = state == 'dispatched' or state == 'running'
if only_waiting == '1' and state ~= 'waiting' then return { 'flying' } end
if at_worker and record[3] ~= node then return { 'node', record[3], record[2] } end
-- Who cancels may not know the request's class yet; its record does.
redis.call('ZREM', string.match(key_waiting, '^.*:') .. record[4], id)
publish_story(key_request, outcome == 'cancelled' and key_cancelled or key_failed,
  event_of_end('router', time, id, record[5], 'inference.' .. outcome .. '.v1'), data)
answer(key_request, key_waiters, id, record[2], outcome, data)
bury({ request = key_request, body = key_body, context = key_context, chain = key_chain,
  result = key_result, waiters = key_waiters, flight = key_flight }, id, outcome, reason, data,
  at_worker and reason or nil)
if at_worker then
  publish_stop(key_stop, time, id, record[5], record[2] .. ':' .. reason, stop_data)
end
return { 'ok' }
