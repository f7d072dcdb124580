-- Moves a waiting request to another priority; its time of admission, and so its age, stays.
--! keys fence:string request:hash from:zset to:zset
--! args token id priority
if redis.call('GET', key_fence) ~= token then return { 'fenced' } end
local record = redis.call('HMGET', key_request, 'state', 'admitted_ms', 'priority')
if record[1] ~= 'waiting' then return { 'state', record[1] or 'none' } end
if record[3] == priority then return { 'ok' } end
if redis.call('ZREM', key_from, id) == 0 then return { 'state', record[3] } end
redis.call('ZADD', key_to, record[2], id)
redis.call('HSET', key_request, 'priority', priority)
return { 'ok' }
