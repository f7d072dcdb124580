-- What the request scripts share. Everything is local to one call.

local DEDUP_S = 3600 -- how long a tombstone outlives its request
local RESULT_BYTES = 16384 -- a result of this size is kept as long; larger ones shorter, in proportion

local function now_ms()
  local now = redis.call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000)
end

-- The refusal that a script answers with where a key has another type, nil where it has not.
local function mistyped(kind, key)
  local found = redis.call('TYPE', key).ok
  if found ~= kind and found ~= 'none' then return { 'wrong_type', key, found } end
end

-- A key's end is a time of the store's clock: set back by an hour, that clock would let the name of
-- who is dead stand for an hour more. Who is alive renews it.
local function bound_ttl(key, ttl_ms)
  if redis.call('PTTL', key) > tonumber(ttl_ms) then redis.call('PEXPIRE', key, ttl_ms) end
end

-- An event argument is a slice of ARGV: the flat fields of an entry.
local function publish(key, event)
  return redis.call('XADD', key, '*', unpack(ARGV, event.first, event.last))
end

-- Events that stand one behind another in ARGV, each after its length, go to KEYS[first] and on.
local function publish_all(results, first)
  local at, key = results.first, first
  while at <= results.last do
    local count = tonumber(ARGV[at])
    publish(KEYS[key], { first = at + 1, last = at + count })
    at, key = at + count + 1, key + 1
  end
end

local function no_stream(first)
  for target = first, #KEYS do
    local found = redis.call('TYPE', KEYS[target]).ok
    if found ~= 'stream' and found ~= 'none' then return { 'wrong_type', KEYS[target], found } end
  end
end

-- The id of a fact, the same whoever says it: a UUID of version 5, as `ids.derived_id` makes it.
local NAMESPACE = '\111\015\154\082\108\027\077\042\154\062\013\028\091\126\047\065'

local function named(fact)
  local digest = redis.sha1hex(NAMESPACE .. fact)
  local variant = tonumber(string.sub(digest, 17, 17), 16) % 4 + 1
  return string.sub(digest, 1, 8) .. '-' .. string.sub(digest, 9, 12) .. '-5' .. string.sub(digest, 14, 16)
    .. '-' .. string.sub('89ab', variant, variant) .. string.sub(digest, 18, 20) .. '-' .. string.sub(digest, 21, 32)
end

-- What every event says of itself.
local function event_of(source, time, subject, event_type, event_id)
  return { 'specversion', '1.0', 'id', event_id, 'type', event_type, 'source', source, 'time', time,
    'subject', subject }
end

-- An id of a request may be used again once its tombstone is gone. Which use an event is about says
-- the entry of the inbox that was admitted; nothing, where an older version admitted it.
local function event_of_attempt(source, time, id, inbox_entry, attempt, event_type)
  return event_of(source, time, id, event_type,
    named(event_type .. '\31' .. id .. '\31' .. attempt .. '@' .. (inbox_entry or '')))
end

-- The one final event of a request, whichever its type.
local function event_of_end(source, time, id, inbox_entry, event_type)
  return event_of(source, time, id, event_type, named(id .. '\31final@' .. (inbox_entry or '')))
end

-- An event about a request also carries what its record knows, so that no caller has to.
local INHERITED = { 'traceparent', 'task', 'priority', 'principal', 'tenant', 'dataclass', 'model' }

local function publish_with(names, attributes, key_request, key, fields, data)
  local subject = fields[#fields]
  fields[#fields + 1] = 'correlationid'
  fields[#fields + 1] = subject
  local known = redis.call('HMGET', key_request, unpack(names))
  for at, value in ipairs(known) do
    if value and value ~= '' then
      fields[#fields + 1] = attributes[at]
      fields[#fields + 1] = value
    end
  end
  fields[#fields + 1] = 'data'
  fields[#fields + 1] = data
  return redis.call('XADD', key, '*', unpack(fields))
end

local function publish_about(...) return publish_with(INHERITED, INHERITED, ...) end

-- The end of a request, and a failed attempt, tell the whole story: whoever keeps it need not read
-- how it began.
local function publish_story(...)
  local names = { 'traceparent', 'task', 'priority', 'principal', 'tenant', 'dataclass', 'model',
    'asked_model', 'operation', 'inputbytes', 'fingerprint', 'node', 'attempt', 'route',
    'inbox_entry', 'received_ms', 'admitted_ms', 'dispatched_ms', 'started_ms', 'first_byte_ms' }
  local attributes = { 'traceparent', 'task', 'priority', 'principal', 'tenant', 'dataclass', 'model',
    'askedmodel', 'operation', 'inputbytes', 'fingerprint', 'node', 'attempt', 'route',
    'inboxentry', 'receivedms', 'admittedms', 'dispatchedms', 'startedms', 'firstbytems' }
  return publish_with(names, attributes, ...)
end

-- The worker of an attempt is asked to stop; `which` is the attempt with the reason.
local function publish_stop(key, time, id, inbox_entry, which, data)
  redis.call('XADD', key, '*', 'data', data,
    unpack(event_of_attempt('router', time, id, inbox_entry, which, 'inference.stop_requested.v1')))
end

-- The record's request goes to a node's worker as an attempt.
local function send_off(keys, time, id, inbox_entry, sent, now)
  local dispatched = event_of_attempt('router', time, id, inbox_entry, sent.attempt, 'inference.dispatched.v1')
  local entry = redis.call('XADD', keys.node, '*', 'data', sent.dispatched_data, unpack(dispatched))
  redis.call('HSET', keys.request, 'state', 'dispatched', 'attempt', sent.attempt, 'node', sent.node,
    'model', sent.model, 'position', sent.position, 'entry', entry, 'executor', '', 'route', sent.route,
    'dispatched_ms', now, 'started_ms', '')
  redis.call('ZADD', keys.flight, now + sent.lease_ms, id)
  publish_about(keys.request, keys.routed,
    event_of_attempt('router', time, id, inbox_entry, sent.attempt, 'inference.routed.v1'), sent.routed_data)
end

local function reply_final(key, id, attempt, outcome, data)
  -- The name came from outside. Failing on a key that is no stream would leave the request half ended.
  local added = redis.pcall('XADD', key, 'MAXLEN', '~', 20000, '*',
    'request', id, 'attempt', attempt, 'final', outcome, 'data', data)
  if type(added) == 'string' then redis.call('EXPIRE', key, 900) end
end

-- Everybody who waits for this request hears how it ended. The names of reply streams stand in
-- the record, so their keys (same prefix, same slot) cannot be declared by the caller.
local function answer(key_request, key_waiters, id, attempt, outcome, data)
  local prefix = string.sub(key_request, 1, -(#id + #'request:' + 1))
  local name = redis.call('HGET', key_request, 'replyto')
  if name and name ~= '' then reply_final(prefix .. 'reply:' .. name, id, attempt, outcome, data) end
  for _, waiter in ipairs(redis.call('LRANGE', key_waiters, 0, -1)) do
    if waiter ~= name then reply_final(prefix .. 'reply:' .. waiter, id, attempt, outcome, data) end
  end
end

-- The record becomes a tombstone: who, when and how it ended, for as long as duplicates may come.
-- `stop` is set where a worker still runs the attempt: the flight entry, its slot, stays until it lets go.
local function bury(keys, id, outcome, reason, data, stop)
  local kept_s = math.min(DEDUP_S, math.max(60, math.floor(DEDUP_S * RESULT_BYTES / #data)))
  redis.call('SET', keys.result, '{"outcome":"' .. outcome .. '","data":' .. data .. '}', 'EX', kept_s)
  redis.call('HSET', keys.request, 'state', 'final', 'outcome', outcome, 'reason', reason,
    'stop', stop or '', 'finished_ms', now_ms())
  redis.call('HDEL', keys.request, 'replyto', 'replymode', 'maxtokens', 'traceparent', 'position',
    'not_before_ms', 'operation', 'route', 'inbox_entry')
  redis.call('EXPIRE', keys.request, DEDUP_S)
  redis.call('UNLINK', keys.body, keys.context, keys.chain, keys.waiters)
  if not stop then redis.call('ZREM', keys.flight, id) end
end
