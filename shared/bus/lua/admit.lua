-- An entry of the inbox becomes a request record, or its final refusal; acknowledged in every case.
-- With a node it is dispatched at once: nobody waits, and the slot is free.
--! keys fence:string? inbox:stream? blob:string* reply:stream absent:hash* request:hash? body:any context:any chain:any result:string* waiters:list* flight:zset* waiting:zset* rejected:stream* cancelled:stream* node:stream* routed:stream*
--! args token time group entry id verdict refusal reason chain_json deadline_ms reply_name asked node model position lease_ms route routed_data dispatched_data
--! rest record
if redis.call('GET', key_fence) ~= token then return { 'fenced' } end
local found = redis.call('XRANGE', key_inbox, entry, entry)
if #found == 0 then
  redis.call('XACK', key_inbox, group, entry)
  return { 'gone' }
end

local data, by_reference = nil, false
local fields = found[1][2]
for i = 1, #fields, 2 do
  if fields[i] == 'data' and not data then data = fields[i + 1] end
  if fields[i] == 'dataref' then by_reference = true end
end
if by_reference then data = redis.call('GET', key_blob) end
if verdict == 'waiting' and not data then
  verdict, reason = 'rejected', 'invalid'
  refusal = cjson.encode({ request_id = id, reason = reason, message = 'the body that dataref names is gone; send the request again' })
end
local fingerprint = redis.sha1hex(asked .. '\n' .. (data or ''))

local known = redis.call('HMGET', key_request, 'state', 'fingerprint', 'replyto', 'attempt', 'outcome')
if known[1] or verdict ~= 'waiting' then
  local bad = mistyped('none', key_absent) or mistyped('string', key_result) or mistyped('list', key_waiters)
    or mistyped('zset', key_flight) or mistyped('stream', key_rejected) or mistyped('stream', key_cancelled)
  if bad then return bad end
end
local foreign
if node == '' then foreign = mistyped('zset', key_waiting)
else foreign = mistyped('zset', key_flight) or mistyped('stream', key_node) or mistyped('stream', key_routed) end
if foreign then return foreign end
local acknowledged_now = redis.call('XACK', key_inbox, group, entry) == 1

if known[1] and known[1] ~= 'cancelled_early' then
  -- Acknowledged before: this repeats a call that has answered already.
  if not acknowledged_now then return { 'duplicate', known[1] } end
  if known[2] ~= fingerprint then
    local other = id .. '#' .. entry
    local ended = cjson.encode({ request_id = other, reason = 'conflict',
      message = 'another request has the id ' .. id .. '; use a new id for new content' })
    publish_story(key_absent, key_rejected, event_of_end('router', time, other, '', 'inference.rejected.v1'), ended)
    if reply_name ~= '' then reply_final(key_reply, other, 0, 'rejected', ended) end
    return { 'conflict' }
  end
  if known[1] ~= 'final' then
    local waits = reply_name == known[3] or redis.call('LPOS', key_waiters, reply_name)
    if reply_name ~= '' and not waits then redis.call('RPUSH', key_waiters, reply_name) end
  elseif reply_name ~= '' then
    local result = redis.call('GET', key_result)
    if result then
      local data_at = #'{"outcome":"' + #known[5] + #'","data":' + 1
      reply_final(key_reply, id, known[4], known[5], string.sub(result, data_at, -2))
    end
  end
  return { 'duplicate', known[1] }
end

local now = now_ms()
redis.call('HSET', key_request, 'state', 'waiting', 'attempt', '0', 'charged', '0', 'stop', '',
  'replyto', reply_name, 'inbox_entry', entry, 'received_ms', string.match(entry, '^%d+'), 'admitted_ms', now,
  'deadline_ms', now + deadline_ms, 'fingerprint', fingerprint,
  unpack(ARGV, record.first, record.last))
local keys = { request = key_request, body = key_body, context = key_context, chain = key_chain,
  result = key_result, waiters = key_waiters, flight = key_flight }

if known[1] == 'cancelled_early' then
  local ended = cjson.encode({ request_id = id, message = 'cancelled before it was admitted', attempts = 0 })
  publish_story(key_request, key_cancelled, event_of_end('router', time, id, entry, 'inference.cancelled.v1'), ended)
  answer(key_request, key_waiters, id, 0, 'cancelled', ended)
  bury(keys, id, 'cancelled', 'cancelled', ended)
  return { 'cancelled' }
end
if verdict == 'rejected' then
  publish_story(key_request, key_rejected, event_of_end('router', time, id, entry, 'inference.rejected.v1'), refusal)
  answer(key_request, key_waiters, id, 0, 'rejected', refusal)
  bury(keys, id, 'rejected', reason, refusal)
  return { 'rejected' }
end
redis.call('SET', key_body, data)
redis.call('SET', key_chain, chain_json)
if node == '' then
  redis.call('ZADD', key_waiting, now, id)
  return { 'waiting', tostring(now) }
end
send_off({ request = key_request, flight = key_flight, node = key_node, routed = key_routed }, time, id, entry, {
  attempt = '1', node = node, model = model, position = position, route = route,
  lease_ms = lease_ms, routed_data = routed_data, dispatched_data = dispatched_data }, now)
return { 'dispatched', tostring(now) }
