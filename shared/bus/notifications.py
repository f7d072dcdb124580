"""What an endpoint is to be told: a stream of its own, and when each next attempt is due."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from shared.bus.dead_letters import DeadLetters, Letter, letter
from shared.bus.envelope import Entry, envelope
from shared.bus.ids import order
from shared.bus.keys import Keys
from shared.bus.scripts import Argument, script
from shared.bus.writer import Writer
from shared.events.base import Event
from shared.events.notifications import NotificationQueued
from shared.events.operations import AlertResolved, DeadLetter

NOTIFIER = "notifier"
"""The service, and its group on every one of these streams."""

PAGE = 100


@dataclass(frozen=True, slots=True)
class Taken:
    """A notification that this process may deliver until its lease ends.

    `turn` counts how often it was taken, `charged` the attempts before this one that count.
    """

    entry: Entry
    turn: int
    charged: int


@dataclass(frozen=True, slots=True)
class SwitchedOff:
    """The endpoint shall not be called, for as long as its configuration has this digest."""

    digest: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """What has not been delivered to an endpoint, at one moment. Times are the store's, in ms."""

    undelivered: int
    oldest_ms: int | None
    next_ms: int | None
    """When the first of the attempts that failed is repeated."""
    rests_until_ms: int | None
    off: bool


class NotificationQueue:
    """One endpoint's notifications, as one notifier process sees them."""

    def __init__(self, writer: Writer, keys: Keys, consumer: str, endpoint: str) -> None:
        self.endpoint = endpoint
        self._writer = writer
        self._keys = keys
        self._consumer = consumer
        self._stream = keys.stream(NotificationQueued, endpoint)
        self._leases = {"deliveries": keys.deliveries(endpoint), "tries": keys.tries(endpoint)}
        self._endpoint = {"endpoint": keys.endpoint(endpoint)}

    async def take(self, again: int, room: int, lease_s: float) -> list[Taken] | SwitchedOff:
        """At most `room`, of which at most `again` were tried before and are due."""
        reply = await self._writer.run(
            script("take"),
            keys={"queue": self._stream, **self._leases, **self._endpoint},
            args={
                "group": NOTIFIER,
                "consumer": self._consumer,
                "again": again,
                "room": room,
                "lease_ms": int(lease_s * 1000),
            },
        )
        match reply:
            case [b"off", digest]:
                return SwitchedOff(digest.decode())
            case [b"ok", rows]:
                return [self._taken(*row) for row in rows]
            case _:
                return []

    async def delivered(self, taken: Taken, event: Event) -> bool:
        """False where the lease was over and somebody else has it."""
        return await self._conclude(taken, [self._result(event, taken)])

    async def given_up(self, taken: Taken, event: Event, reason: str) -> bool:
        """It becomes a dead letter. False where the lease was over and somebody else has it."""
        return await self._conclude(
            taken, [self._result(event, taken), self._letter(taken, reason)]
        )

    async def buried(self, taken: Taken, reason: str) -> bool:
        """An entry that is no notification. False where the lease was over."""
        return await self._conclude(taken, [self._letter(taken, reason)])

    async def put_off(
        self, taken: Taken, delay_s: float, *, charge: int, rest_s: float = 0.0
    ) -> bool:
        """Try again later. The whole endpoint rests for `rest_s`."""
        return await self._put_off(taken, delay_s, charge, rest_s, "", [])

    async def switch_off(self, taken: Taken, digest: str, alert: Event) -> bool:
        """Call the endpoint no more; this notification waits with the others."""
        return await self._put_off(taken, 0, 0, 0, digest, [self._result(alert, taken)])

    async def switch_on(self, resolved: AlertResolved, ordinal: str) -> None:
        """Call the endpoint again, now, if it had been switched off or rested."""
        await self._writer.run(
            script("switch_on"),
            keys={**self._endpoint, "resolved": self._keys.stream(AlertResolved)},
            events={"event": envelope(resolved, NOTIFIER, ordinal=ordinal)},
        )

    def _taken(self, entry_id: bytes, flat: Sequence[bytes], turn: int, charged: bytes) -> Taken:
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        return Taken(Entry(self._stream, entry_id.decode(), fields), turn, int(charged))

    def _result(self, event: Event, taken: Taken) -> tuple[str, list[str | bytes]]:
        fields = envelope(event, NOTIFIER, ordinal=taken.entry.id, cause=taken.entry)
        return self._keys.stream(type(event)), fields

    def _letter(self, taken: Taken, reason: str) -> tuple[str, list[str | bytes]]:
        fields, said = letter(self._keys, NOTIFIER, taken.entry, reason)
        said = said.model_copy(update={"deliveries": taken.turn})
        return self._keys.stream(DeadLetter), [*fields, "data", said.model_dump_json()]

    async def _conclude(
        self, taken: Taken, results: Sequence[tuple[str, list[str | bytes]]]
    ) -> bool:
        targets, rest = _flat(results)
        reply = await self._writer.run(
            script("conclude"),
            keys={"queue": self._stream, **self._leases},
            args={"group": NOTIFIER, "entry": taken.entry.id, "turn": taken.turn},
            rest=rest,
            more_keys=targets,
        )
        return bool(reply[0] == b"ok")

    async def _put_off(
        self,
        taken: Taken,
        delay_s: float,
        charge: int,
        rest_s: float,
        off_for: str,
        results: Sequence[tuple[str, list[str | bytes]]],
    ) -> bool:
        targets, rest = _flat(results)
        reply = await self._writer.run(
            script("put_off"),
            keys={**self._leases, **self._endpoint},
            args={
                "entry": taken.entry.id,
                "turn": taken.turn,
                "delay_ms": int(delay_s * 1000),
                "charged": taken.charged + charge,
                "rest_ms": int(rest_s * 1000),
                "off_for": off_for,
            },
            rest=rest,
            more_keys=targets,
        )
        return bool(reply[0] == b"ok")


async def waiting(client: Redis, keys: Keys, endpoint: str) -> Waiting:
    """What an endpoint has not been told yet."""
    stream = keys.stream(NotificationQueued, endpoint)
    state: Any = await client.hmget(keys.endpoint(endpoint), "off_for", "rests_until_ms")
    due: Any = await client.zrange(keys.deliveries(endpoint), 0, 0, withscores=True)
    progress = await _progress(client, stream)
    unread: Any = await client.xrange(stream, f"({progress.read_until}", count=1)
    firsts = [progress.oldest, *(entry_id.decode() for entry_id, _ in unread)]
    return Waiting(
        undelivered=progress.pending + progress.unread,
        oldest_ms=min((int(each.partition("-")[0]) for each in firsts if each), default=None),
        next_ms=int(due[0][1]) if due else None,
        rests_until_ms=int(state[1]) if state[1] else None,
        off=bool(state[0]),
    )


async def queued_since(
    client: Redis, keys: Keys, endpoint: str, since_ms: int
) -> AsyncIterator[Entry]:
    """What an endpoint was, or is still to be, told of since; as far as it is kept."""
    async for entry in _entries(client, keys.stream(NotificationQueued, endpoint), f"{since_ms}"):
        yield entry


@dataclass(frozen=True, slots=True)
class Undelivered:
    """Entries that were neither delivered nor given up: read by a notifier, or not read yet."""

    read: frozenset[str]
    read_until: str

    def __contains__(self, entry_id: str) -> bool:
        return entry_id in self.read or order(entry_id) > order(self.read_until)


async def undelivered(client: Redis, keys: Keys, endpoint: str) -> Undelivered:
    due: Any = await client.zrange(keys.deliveries(endpoint), 0, -1)
    progress = await _progress(client, keys.stream(NotificationQueued, endpoint))
    return Undelivered(frozenset(each.decode() for each in due), progress.read_until)


async def letters_of(client: Redis, keys: Keys, endpoint: str) -> AsyncIterator[Letter]:
    """The dead letters of one endpoint's notifications, oldest first."""
    origin = keys.stream(NotificationQueued, endpoint).removeprefix(keys.prefix)
    async for each in DeadLetters(client, keys).all():
        if each.letter.origin == origin:
            yield each


@dataclass(frozen=True, slots=True)
class _Progress:
    """How far the notifier is on a stream: what it read and did not settle, and what it has not."""

    pending: int = 0
    unread: int = 0
    oldest: str | None = None
    read_until: str = "0-0"


async def _progress(client: Redis, stream: str) -> _Progress:
    groups: Any = await client.xinfo_groups(stream) if await client.exists(stream) else []
    for group in groups:
        if group["name"].decode() == NOTIFIER:
            read_until = group["last-delivered-id"].decode()
            unread = group["lag"]
            if unread is None:  # an entry was deleted by hand
                unread = len([1 async for _ in _entries(client, stream, f"({read_until}")])
            summary: Any = await client.xpending(stream, NOTIFIER)
            oldest = summary["min"].decode() if summary["min"] else None
            return _Progress(int(group["pending"]), int(unread), oldest, read_until)
    return _Progress(unread=await client.xlen(stream))


async def _entries(client: Any, stream: str, first: str) -> AsyncIterator[Entry]:
    while rows := await client.xrange(stream, first, count=PAGE):
        for entry_id, fields in rows:
            yield Entry(stream, entry_id.decode(), fields)
        first = f"({rows[-1][0].decode()}"


def _flat(
    results: Sequence[tuple[str, list[str | bytes]]],
) -> tuple[list[str], list[Argument]]:
    """Streams, and the fields for each behind their number, as `publish_all` takes them."""
    rest: list[Argument] = []
    for _, fields in results:
        rest += [len(fields), *fields]
    return [stream for stream, _ in results], rest
