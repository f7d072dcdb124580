-- Renews an attempt's lease. The answer tells its executor whether to go on.
--! keys request:hash? flight:zset?
--! args id attempt executor lease_ms
local record = redis.call('HMGET', key_request, 'state', 'attempt', 'executor', 'stop', 'deadline_ms')
if record[2] ~= attempt or record[3] ~= executor then return { 'superseded' } end
if record[1] ~= 'running' then return { record[4] and record[4] ~= '' and record[4] or 'superseded' } end
local now = now_ms()
redis.call('ZADD', key_flight, 'XX', now + lease_ms, id)
if record[4] and record[4] ~= '' then return { record[4] } end
if tonumber(record[5]) <= now then return { 'deadline' } end
return { 'ok' }
