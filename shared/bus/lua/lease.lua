-- Takes or renews a lease. The fence token is `<generation>:<owner>`: a generation alone could come
-- back after a lost fsync and match two owners. Who does not show the present token (because it
-- dropped what it knew) gets a new generation, and what it sent under the old one is fenced.
--! keys lease:string fence:string
--! args owner ttl_ms known
local holder = redis.call('GET', key_lease)
local token = redis.call('GET', key_fence) or '0:'
local generation = string.match(token, '^%d+')
if holder == owner and token == known then
  redis.call('PEXPIRE', key_lease, ttl_ms)
  return { token }
end
if holder and holder ~= owner then
  bound_ttl(key_lease, ttl_ms)
  return { '' }
end
token = (tonumber(generation) + 1) .. ':' .. owner
redis.call('SET', key_lease, owner, 'PX', ttl_ms)
redis.call('SET', key_fence, token)
return { token }
