-- Counts one failed handling of an entry in the group's own pending list; at the limit, or at once
-- where a retry cannot help, the entry becomes a dead letter.
--! keys source:stream dead_letter:stream
--! args group consumer entry limit reason
--! events event
local pending = redis.call('XPENDING', key_source, group, entry, entry, 1, consumer)
if #pending == 0 then return { 'fenced' } end
local deliveries = pending[1][4]
if deliveries < tonumber(limit) then
  redis.call('XCLAIM', key_source, group, consumer, 0, entry, 'RETRYCOUNT', deliveries + 1, 'JUSTID')
  return { 'retry', deliveries }
end
local origin = string.sub(key_source, #key_dead_letter - #'dead_letter.v1' + 1)
local letter = { unpack(ARGV, event.first, event.last) }
letter[#letter + 1] = 'data'
letter[#letter + 1] = cjson.encode({ origin = origin, entry = entry, group = group, reason = reason, deliveries = deliveries })
local found = redis.call('XRANGE', key_source, entry, entry)
if #found > 0 and #found[1][2] < 7000 then -- more words than that no script can pass on to XADD
  for i, value in ipairs(found[1][2]) do
    letter[#letter + 1] = i % 2 == 1 and 'x-' .. value or value
  end
end
redis.call('XADD', key_dead_letter, '*', unpack(letter))
redis.call('XACK', key_source, group, entry)
return { 'dead', deliveries }
