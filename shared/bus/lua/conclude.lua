-- A notification is delivered or given up: what follows is published and it is acknowledged, or
-- (where its lease ran out and somebody else took it) neither.
--! keys queue:stream deliveries:zset tries:hash
--! args group entry turn
--! rest results
if string.match(redis.call('HGET', key_tries, entry) or '', '^%d+') ~= turn then return { 'fenced' } end
local foreign = no_stream(4)
if foreign then return foreign end
publish_all(results, 4)
redis.call('XACK', key_queue, group, entry)
redis.call('ZREM', key_deliveries, entry)
redis.call('HDEL', key_tries, entry)
return { 'ok' }
