-- An endpoint is called again; that it had been switched off is over.
--! keys endpoint:hash resolved:stream
--! events event
redis.call('HDEL', key_endpoint, 'rests_until_ms')
if redis.call('HDEL', key_endpoint, 'off_for') == 1 then publish(key_resolved, event) end
return { 'ok' }
