-- Gives a lease back at a clean stop, so that the successor need not wait for its end.
--! keys lease:string
--! args owner
if redis.call('GET', key_lease) == owner then redis.call('DEL', key_lease) end
return { 'ok' }
