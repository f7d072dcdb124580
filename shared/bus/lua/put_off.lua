-- A notification's next attempt comes later. Where its whole endpoint shall be left alone, for a
-- time or until somebody switches it on again, the first to say so publishes that.
--! keys deliveries:zset tries:hash endpoint:hash
--! args entry turn delay_ms charged rest_ms off_for
--! rest results
if string.match(redis.call('HGET', key_tries, entry) or '', '^%d+') ~= turn then return { 'fenced' } end
local foreign = no_stream(4)
if foreign then return foreign end
local now = now_ms()
redis.call('HSET', key_tries, entry, turn .. ' ' .. charged)
redis.call('ZADD', key_deliveries, now + delay_ms, entry)
local rests_until_ms = tonumber(redis.call('HGET', key_endpoint, 'rests_until_ms') or 0)
if tonumber(rest_ms) > 0 then
  redis.call('HSET', key_endpoint, 'rests_until_ms', math.max(rests_until_ms, now + rest_ms))
end
if off_for ~= '' and redis.call('HEXISTS', key_endpoint, 'off_for') == 0 then
  redis.call('HSET', key_endpoint, 'off_for', off_for)
  publish_all(results, 4)
end
return { 'ok' }
