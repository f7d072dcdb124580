-- Takes notifications to deliver now: those whose next attempt is due, then new ones. Each is leased:
-- who neither concludes it nor puts it off in time loses it to whoever takes it next.
--! keys queue:stream deliveries:zset tries:hash endpoint:hash
--! args group consumer again room lease_ms
local now = now_ms()
local state = redis.call('HMGET', key_endpoint, 'off_for', 'rests_until_ms')
if state[1] then return { 'off', state[1] } end
if state[2] and tonumber(state[2]) > now then return { 'rests' } end
local rows = {}
local function lease(entry, fields)
  local taken, charged = string.match(redis.call('HGET', key_tries, entry) or '0 0', '(%d+) (%d+)')
  taken = taken + 1
  redis.call('HSET', key_tries, entry, taken .. ' ' .. charged)
  redis.call('ZADD', key_deliveries, now + lease_ms, entry)
  rows[#rows + 1] = { entry, fields, taken, charged }
end

local due = {}
if tonumber(again) > 0 then
  due = redis.call('ZRANGEBYSCORE', key_deliveries, '-inf', now, 'LIMIT', 0, math.min(again, room))
end
for _, entry in ipairs(due) do
  local found = redis.call('XRANGE', key_queue, entry, entry)
  if #found > 0 then
    lease(entry, found[1][2])
  else -- the trimmer has cut it
    redis.call('XACK', key_queue, group, entry)
    redis.call('ZREM', key_deliveries, entry)
    redis.call('HDEL', key_tries, entry)
  end
end
local fresh = room - #rows
if fresh > 0 then
  local read = { 'XREADGROUP', 'GROUP', group, consumer, 'COUNT', fresh, 'STREAMS', key_queue, '>' }
  local reply = redis.pcall(unpack(read))
  if reply and reply.err then
    redis.call('XGROUP', 'CREATE', key_queue, group, '0', 'MKSTREAM')
    reply = redis.call(unpack(read))
  end
  for _, row in ipairs(reply and reply[1][2] or {}) do lease(row[1], row[2]) end
end
return { 'ok', rows }
