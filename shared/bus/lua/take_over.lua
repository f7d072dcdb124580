-- What was left pending for so long becomes this consumer's, and so do the entries named at the
-- end, however long. In one step: every further question could remain without an answer, and the
-- claim would have counted for nothing.
--! keys source:stream
--! args group consumer idle_ms most
--! rest ahead
local found = redis.call('XAUTOCLAIM', key_source, group, consumer, idle_ms, '0-0', 'COUNT', most)[2]
local known, left = {}, {}
for _, entry in ipairs(found) do known[entry[1]] = true end
for index = ahead.first, ahead.last do
  if not known[ARGV[index]] then left[#left + 1] = ARGV[index] end
end
if #left > 0 then
  for _, entry in ipairs(redis.call('XCLAIM', key_source, group, consumer, 0, unpack(left))) do
    found[#found + 1] = entry
  end
end
local taken = {}
for _, entry in ipairs(found) do
  if entry[2] then
    local pending = redis.call('XPENDING', key_source, group, entry[1], entry[1], 1)
    taken[#taken + 1] = { entry[1], pending[1][4], entry[2] }
  end
end
return { 'ok', taken }
