-- Settles one entry: its results are published and it is acknowledged, or (where another consumer
-- has taken it over) neither.
--! keys source:stream
--! args group consumer entry
--! rest results
if #redis.call('XPENDING', key_source, group, entry, entry, 1, consumer) == 0 then return { 'fenced' } end
for target = 2, #KEYS do
  local found = redis.call('TYPE', KEYS[target]).ok
  if found ~= 'stream' and found ~= 'none' then return { 'wrong_type', KEYS[target], found } end
end
local at, key = results.first, 2
while at <= results.last do
  local count = tonumber(ARGV[at])
  publish(KEYS[key], { first = at + 1, last = at + count })
  at, key = at + count + 1, key + 1
end
redis.call('XACK', key_source, group, entry)
return { 'ok' }
