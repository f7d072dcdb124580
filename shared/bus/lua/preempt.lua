-- A running attempt that has not streamed yet makes room: its worker is asked to stop.
--! keys fence:string request:hash stop:stream
--! args token time id attempt stop_data
if redis.call('GET', key_fence) ~= token then return { 'fenced' } end
local record = redis.call('HMGET', key_request, 'state', 'attempt', 'first_byte_ms', 'stop', 'inbox_entry')
if record[1] ~= 'running' or record[2] ~= attempt then return { 'state', record[1] or 'none' } end
if record[3] then return { 'first_byte' } end
if record[4] == 'preempted' then return { 'ok' } end
redis.call('HSET', key_request, 'stop', 'preempted')
publish_stop(key_stop, time, id, record[5], attempt .. ':preempted', stop_data)
return { 'ok' }
