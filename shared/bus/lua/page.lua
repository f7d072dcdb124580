-- A page of an index, by rank, with the fields of its records. They share the index's prefix,
-- hence its slot.
--! flags no-writes
--! keys index:zset
--! args first last record_prefix chain_prefix
--! rest names
local page = redis.call('ZRANGE', key_index, first, last, 'WITHSCORES')
local rows = {}
for i = 1, #page, 2 do
  local values = redis.call('HMGET', record_prefix .. page[i], unpack(ARGV, names.first, names.last))
  for j = 1, #values do values[j] = values[j] or '' end
  rows[#rows + 1] = { page[i], page[i + 1], redis.call('GET', chain_prefix .. page[i]) or '[]', values }
end
return rows
