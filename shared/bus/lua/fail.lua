-- Counts one failed handling of an entry in the group's own pending list; at the limit, or at once
-- where a retry cannot help, the entry becomes a dead letter.
--! keys source:stream dead_letter:stream
--! args group consumer entry limit letter
--! events event
local pending = redis.call('XPENDING', key_source, group, entry, entry, 1, consumer)
if #pending == 0 then return { 'fenced' } end
local deliveries = pending[1][4]
if deliveries < tonumber(limit) then
  redis.call('XCLAIM', key_source, group, consumer, 0, entry, 'RETRYCOUNT', deliveries + 1, 'JUSTID')
  return { 'retry', deliveries }
end
local said = cjson.decode(letter)
said.deliveries = deliveries
local fields = { unpack(ARGV, event.first, event.last) }
fields[#fields + 1] = 'data'
fields[#fields + 1] = cjson.encode(said)
redis.call('XADD', key_dead_letter, '*', unpack(fields))
redis.call('XACK', key_source, group, entry)
return { 'dead', deliveries }
