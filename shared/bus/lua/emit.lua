-- A piece of the answer for whoever asked. The first one is marked: after it there is no silent retry.
--! keys request:hash? flight:zset? reply:any
--! args id attempt executor lease_ms seq delta
local record = redis.call('HMGET', key_request, 'state', 'attempt', 'executor', 'stop', 'first_byte_ms')
if record[2] ~= attempt or record[3] ~= executor then return { 'superseded' } end
if record[1] ~= 'running' then return { record[4] and record[4] ~= '' and record[4] or 'superseded' } end
local now = now_ms()
if record[4] and record[4] ~= '' then return { record[4] } end
redis.call('ZADD', key_flight, 'XX', now + lease_ms, id)
if not record[5] then redis.call('HSET', key_request, 'first_byte_ms', now) end
local fields = { 'request', id, 'attempt', attempt, 'seq', seq, 'delta', delta }
if seq == '0' then
  local who = redis.call('HMGET', key_request, 'model', 'node')
  for _, word in ipairs({ 'model', who[1], 'node', who[2] }) do fields[#fields + 1] = word end
end
if mistyped('stream', key_reply) then return { 'ok' } end -- the name came from outside
redis.call('XADD', key_reply, 'MAXLEN', '~', 20000, '*', unpack(fields))
redis.call('EXPIRE', key_reply, 900)
return { 'ok' }
