-- Pieces of answers for whoever asked, those of all a worker's answers at once. The first piece of an
-- answer is marked: after it there is no silent retry. One status for each, in their order.
--! args record_prefix reply_prefix
--! rest pieces
local function emit(id, attempt, executor, reply, seq, delta)
  local key_request, key_reply = record_prefix .. id, reply_prefix .. reply
  local record = redis.pcall('HMGET', key_request, 'state', 'attempt', 'executor', 'stop', 'first_byte_ms')
  if record.err or record[2] ~= attempt or record[3] ~= executor then return 'superseded' end
  local stop = record[4] and record[4] ~= '' and record[4]
  if stop or record[1] ~= 'running' then return stop or 'superseded' end
  if not record[5] then redis.call('HSET', key_request, 'first_byte_ms', now_ms()) end
  local fields = { 'request', id, 'attempt', attempt, 'seq', seq, 'delta', delta }
  if seq == '0' then
    local who = redis.call('HMGET', key_request, 'model', 'node')
    for _, word in ipairs({ 'model', who[1], 'node', who[2] }) do fields[#fields + 1] = word end
  end
  -- The name came from outside: a key of another type takes nothing, and nobody is harmed.
  local added = redis.pcall('XADD', key_reply, 'MAXLEN', '~', 20000, '*', unpack(fields))
  if type(added) == 'string' and tonumber(seq) % 64 == 0 then redis.call('EXPIRE', key_reply, 900) end
  return 'ok'
end

local statuses = {}
for at = pieces.first, pieces.last, 6 do
  statuses[#statuses + 1] = emit(unpack(ARGV, at, at + 5))
end
return statuses
