-- Settles one entry: its results are published and it is acknowledged, or (where another consumer
-- has taken it over) neither.
--! keys source:stream
--! args group consumer entry
--! rest results
if #redis.call('XPENDING', key_source, group, entry, entry, 1, consumer) == 0 then return { 'fenced' } end
local foreign = no_stream(2)
if foreign then return foreign end
publish_all(results, 2)
redis.call('XACK', key_source, group, entry)
return { 'ok' }
