-- A restarted worker releases what its node's previous instance was running.
--! keys request:hash flight:zset node:stream attempt_failed:stream
--! args time id attempt node instance entry group data
local record = redis.call('HMGET', key_request, 'state', 'attempt', 'node', 'executor', 'inbox_entry')
if record[1] == 'dispatched' and record[2] == attempt and record[3] == node then return { 'dispatched' } end
local mine = record[2] == attempt and record[3] == node
local own = instance .. '/' -- an executor is `<instance>/<entry>`; `host-1` must not claim what `host-12` runs
if mine and record[1] == 'running' and string.sub(record[4], 1, #own) == own then return { 'own' } end
redis.call('XACK', key_node, group, entry)
redis.call('XDEL', key_node, entry)
if mine and record[1] == 'final' then redis.call('ZREM', key_flight, id) end
if not mine or record[1] ~= 'running' then return { 'stale' } end
redis.call('HSET', key_request, 'state', 'released', 'last_reason', 'worker_restarted', 'released_ms', now_ms())
redis.call('HINCRBY', key_request, 'charged', 1)
redis.call('ZADD', key_flight, 0, id)
publish_story(key_request, key_attempt_failed,
  event_of_attempt('inference-worker', time, id, record[5], attempt, 'inference.attempt_failed.v1'), data)
return { 'ok' }
