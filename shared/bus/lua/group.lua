-- Creates a group at the beginning of its stream, together with the stream. As a script, because
-- a full store refuses XGROUP CREATE, also for a group that exists.
--! keys stream:stream
--! args group
local made = redis.pcall('XGROUP', 'CREATE', key_stream, group, '0', 'MKSTREAM')
if made.err and not string.find(made.err, 'BUSYGROUP', 1, true) then return made end
return { 'ok' }
