"""Everything that a store holds, read at once, so that a test can compare before with after."""

from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from shared.bus.keys import Keys
from shared.events.base import Event, Priority

Fields = dict[str, str]


@dataclass(frozen=True)
class StoredStream:
    entries: dict[str, Fields]
    """By entry id, in the stream's order."""
    pending: dict[str, list[str]]
    """By group: the ids that were delivered and not acknowledged."""


@dataclass(frozen=True)
class Stored:
    """Keys by type. Text that is no UTF-8 keeps its bytes as surrogates."""

    keys: Keys
    strings: dict[str, bytes]
    hashes: dict[str, Fields]
    lists: dict[str, list[str]]
    zsets: dict[str, dict[str, float]]
    streams: dict[str, StoredStream]

    def records(self) -> dict[str, Fields]:
        """By request id."""
        prefix = self.keys.request("")
        return {
            key.removeprefix(prefix): value
            for key, value in self.hashes.items()
            if key.startswith(prefix)
        }

    def record(self, request_id: str) -> Fields:
        return self.hashes.get(self.keys.request(request_id), {})

    def state(self, request_id: str) -> str:
        return self.record(request_id).get("state", "none")

    def body(self, request_id: str) -> bytes | None:
        return self.strings.get(self.keys.body(request_id))

    def result(self, request_id: str) -> bytes | None:
        return self.strings.get(self.keys.result(request_id))

    def waiters(self, request_id: str) -> list[str]:
        return self.lists.get(self.keys.waiters(request_id), [])

    def waiting(self, priority: Priority) -> dict[str, float]:
        return self.zsets.get(self.keys.waiting(priority), {})

    @property
    def flight(self) -> dict[str, float]:
        return self.zsets.get(self.keys.flight, {})

    def stream(self, event: type[Event], part: str | None = None) -> StoredStream:
        return self.streams.get(self.keys.stream(event, part), StoredStream({}, {}))

    def events(self, event: type[Event], part: str | None = None) -> list[Fields]:
        return list(self.stream(event, part).entries.values())

    def replies(self, name: str) -> list[Fields]:
        stream = self.streams.get(self.keys.reply(name), StoredStream({}, {}))
        return list(stream.entries.values())


@dataclass(frozen=True)
class Keeping:
    """How a key is kept: for how long, and in which encoding."""

    ttl_s: int
    """-1: for ever."""
    encoding: str


READ = """
local readings = {
  string = function(key) return redis.call('GET', key) end,
  hash = function(key) return redis.call('HGETALL', key) end,
  list = function(key) return redis.call('LRANGE', key, 0, -1) end,
  zset = function(key) return redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end,
  stream = function(key) return redis.call('XRANGE', key, '-', '+') end,
}
local found = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  local kind, groups = redis.call('TYPE', key).ok, {}
  if kind == 'stream' then
    for _, group in ipairs(redis.call('XINFO', 'GROUPS', key)) do
      groups[#groups + 1] = { group[2], redis.call('XPENDING', key, group[2], '-', '+', 1000) }
    end
  end
  found[#found + 1] = { key, kind, readings[kind](key), groups,
    redis.call('TTL', key), redis.call('OBJECT', 'ENCODING', key) }
end
return found
"""


async def read(client: Redis, keys: Keys) -> tuple[Stored, dict[str, Keeping]]:
    """The contents, and how each key is kept, at one moment."""
    rows: Any = await client.eval(READ, 0)
    stored = Stored(keys, {}, {}, {}, {}, {})
    keeping = {}
    for key, kind, value, groups, ttl_s, encoding in rows:
        name = _text(key)
        keeping[name] = Keeping(ttl_s, _text(encoding))
        match kind:
            case b"string":
                stored.strings[name] = value
            case b"hash":
                stored.hashes[name] = _fields(value)
            case b"list":
                stored.lists[name] = [_text(item) for item in value]
            case b"zset":
                scores = _fields(value).items()
                stored.zsets[name] = {member: float(score) for member, score in scores}
            case b"stream":
                stored.streams[name] = StoredStream(
                    {_text(entry_id): _fields(fields) for entry_id, fields in value},
                    {_text(group): [_text(row[0]) for row in rows] for group, rows in groups},
                )
    return stored, keeping


def _fields(flat: list[bytes]) -> Fields:
    return {_text(name): _text(value) for name, value in zip(flat[::2], flat[1::2], strict=True)}


def _text(value: bytes) -> str:
    return value.decode(errors="surrogateescape")
