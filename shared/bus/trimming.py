"""Streams are bounded: trimmed behind the slowest core group, and behind slow followers late."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from shared.bus.configuration import endpoints_since, former_endpoints
from shared.bus.envelope import envelope
from shared.bus.history import ABOUT_A_REQUEST
from shared.bus.ids import order
from shared.bus.keys import Keys
from shared.bus.notifications import NOTIFIER
from shared.bus.scripts import script
from shared.bus.tail import redis_now_ms
from shared.events import EVENTS
from shared.events.base import Event
from shared.events.inference import FINALS, InferenceRequested
from shared.events.notifications import NotificationQueued
from shared.events.operations import AlertRaised, DeadLetter
from shared.log import get_logger
from shared.telemetry import BEHIND_SECONDS, PENDING, STREAM_LENGTH

log = get_logger()

CORE_GROUPS = frozenset({"router", "model-manager", "inference-worker", "audit-logger"})
"""Nothing that one of these has not settled is ever cut, where the group exists."""

AUDIT = "audit-logger"
HISTORY: frozenset[type[Event]] = frozenset({*ABOUT_A_REQUEST, *FINALS})
HISTORY_KEEP_MS = 3600 * 1000
"""For as long as a request's record: `roundhouse why` reads them, and whoever follows late."""

FOLLOWERS_KEEP_MS = 24 * 3600 * 1000
UNDELIVERED_KEEP_MS = 96 * 3600 * 1000
"""Longer than the attempts to deliver a notification may take."""
SAMPLES_KEEP_MS = 10 * 60 * 1000
CROWDED_KEEP_MS = 10 * 60 * 1000
DEAD_LETTERS_KEPT = 100_000
"""A flood of poison must not fill the store."""
PAGE = 100
FOLLOWERS_MEMORY_SHARE = 4
"""Streams may hold a quarter of the store's memory in all before followers are cut."""
UNBOUNDED_BYTES = 1024**3
"""What counts as the memory of a store that has no bound."""


@dataclass(frozen=True, slots=True)
class Reader:
    """A group of a stream, and the first entry that it still needs."""

    name: str
    needs_from: str
    core: bool


async def trim(
    client: Redis,
    keys: Keys,
    nodes: Collection[str] = (),
    core: Collection[str] = CORE_GROUPS,
    producers: Collection[str] = (),
) -> None:
    """Cut every contract stream as far as its readers allow.

    `nodes` and `producers` have streams of their own, and so have endpoints, also those that are
    configured no longer. The groups of `core` that there are bound it always.
    """
    now_ms = await redis_now_ms(client)
    endpoints = await endpoints_since(client, keys)
    every_endpoint = {*endpoints, *await former_endpoints(client, keys)}
    parts = {"node": nodes, "endpoint": every_endpoint, "producer": producers}
    streams = await _existing(client, keys, parts)
    crowded = await _is_crowded(client, streams)
    for stream, event in streams.items():
        if event is DeadLetter:
            await client.xtrim(stream, maxlen=DEAD_LETTERS_KEPT, approximate=True)
            continue
        readers = await _readers(client, stream, core)
        if not endpoints and event is not NotificationQueued:
            readers = [each for each in readers if each.name != NOTIFIER]
        cut = _cut(event, readers, now_ms, crowded=crowded)
        if event is InferenceRequested:
            await _drop_blobs(client, keys, stream, cut)
        losers = [reader for reader in readers if await _loses(client, stream, reader, cut)]
        await client.xtrim(stream, minid=cut, approximate=False)
        for reader in losers:
            await _alert(client, keys, stream, reader, cut)
        await _measure(client, stream, readers, now_ms)
        STREAM_LENGTH.labels(stream).set(await client.xlen(stream))
    letters = keys.stream(DeadLetter)
    STREAM_LENGTH.labels(letters).set(await client.xlen(letters))  # also before the first one


def forget_measures() -> None:
    """Of streams that are nobody's any more; those that are somebody's are measured again soon."""
    for gauge in (PENDING, BEHIND_SECONDS, STREAM_LENGTH):
        gauge.clear()


def _cut(event: type[Event], readers: Sequence[Reader], now_ms: int, *, crowded: bool) -> str:
    if event is NotificationQueued:
        return queue_floor(readers, now_ms, crowded=crowded)
    followers_keep_ms = CROWDED_KEEP_MS if crowded else FOLLOWERS_KEEP_MS
    keep_ms = SAMPLES_KEEP_MS if event.sampled else followers_keep_ms
    cut = floor(readers, now_ms - keep_ms, crowded=crowded)
    if event in HISTORY and not crowded:
        return min(cut, f"{max(0, now_ms - HISTORY_KEEP_MS)}-0", key=order)
    return cut


def floor(readers: Iterable[Reader], oldest_ms: int, *, crowded: bool) -> str:
    """The first id to keep.

    Core groups bound it always. Followers hold it back until what they need is older than
    `oldest_ms`, or memory is crowded. A stream without a core group is kept until `oldest_ms`.
    """
    by_age = f"{max(0, oldest_ms)}-0"
    readers = tuple(readers)
    core = [each.needs_from for each in readers if each.core]
    if not core:
        return by_age
    slowest = min(core, key=order)
    followers = [each.needs_from for each in readers if not each.core]
    if crowded or not followers:
        return slowest
    return min(slowest, max(by_age, min(followers, key=order), key=order), key=order)


def queue_floor(readers: Iterable[Reader], now_ms: int, *, crowded: bool) -> str:
    """The same for notifications: what was delivered is kept for those who want it again, what
    was not for as long as it may be tried.
    """
    delivered_ms = now_ms if crowded else now_ms - FOLLOWERS_KEEP_MS
    undelivered_ms = now_ms - (CROWDED_KEEP_MS if crowded else UNDELIVERED_KEEP_MS)
    by_age = f"{max(0, undelivered_ms)}-0"
    oldest = min((each.needs_from for each in readers), key=order, default=by_age)
    return min(f"{max(0, delivered_ms)}-0", max(by_age, oldest, key=order), key=order)


async def _readers(client: Redis, stream: str, core: Collection[str]) -> list[Reader]:
    readers = []
    for group in await client.xinfo_groups(stream):
        name = group["name"].decode()
        PENDING.labels(stream, name).set(group["pending"])
        needs_from = _after(group["last-delivered-id"].decode())
        if group["pending"]:
            summary = await client.xpending(stream, name)
            if summary["min"] is not None:
                needs_from = min(needs_from, summary["min"].decode(), key=order)
        readers.append(Reader(name, needs_from, name in core))
    return readers


async def _measure(client: Redis, stream: str, readers: Iterable[Reader], now_ms: int) -> None:
    for reader in readers:
        rows: Any = await client.xrange(stream, reader.needs_from, count=1)
        behind_ms = now_ms - order(rows[0][0].decode())[0] if rows else 0
        BEHIND_SECONDS.labels(stream, reader.name).set(max(0, behind_ms) / 1000)


def _after(entry_id: str) -> str:
    milliseconds, sequence = order(entry_id)
    return f"{milliseconds}-{sequence + 1}"


async def _drop_blobs(client: Any, keys: Keys, stream: str, cut: str) -> None:
    """Large bodies live beside their entries, and go with them."""
    first, prefix = "-", keys.blob("").encode()
    while rows := await client.xrange(stream, first, f"({cut}", count=PAGE):
        blobs = [prefix + fields[b"dataref"] for _, fields in rows if b"dataref" in fields]
        if blobs:
            await client.unlink(*blobs)
        first = f"({rows[-1][0].decode()}"


async def _existing(
    client: Redis, keys: Keys, parts: Mapping[str, Collection[str]]
) -> dict[str, type[Event]]:
    """By name rather than by SCAN, which would walk over every waiting request.

    A key that is no stream is left to whoever reads it, and says so.
    """
    possible = {
        keys.stream(event, part): event
        for event in EVENTS.values()
        for part in _parts(event, parts)
    }
    async with client.pipeline(transaction=False) as pipeline:
        for stream in possible:
            pipeline.type(stream)
        found = await pipeline.execute()
    pairs = zip(possible.items(), found, strict=True)
    return {stream: event for (stream, event), kind in pairs if kind == b"stream"}


def _parts(event: type[Event], parts: Mapping[str, Collection[str]]) -> Iterable[str | None]:
    if event.partition:
        return parts[event.partition]
    return (None, *(parts[event.beside] if event.beside else ()))


async def _is_crowded(client: Redis, streams: Iterable[str]) -> bool:
    """Whether the streams together hold more than their share of the store's memory."""
    info = await client.info("memory")
    share = (int(info["maxmemory"]) or UNBOUNDED_BYTES) // FOLLOWERS_MEMORY_SHARE
    if int(info["used_memory"]) < share:
        return False
    used = 0
    for stream in streams:
        used += await client.memory_usage(stream, samples=5) or 0
    return used > share


async def _loses(client: Redis, stream: str, reader: Reader, cut: str) -> bool:
    """Whether the cut takes entries away that the reader has not settled."""
    if order(reader.needs_from) >= order(cut):
        return False
    return bool(await client.xrange(stream, reader.needs_from, f"({cut}", count=1))


async def _alert(client: Any, keys: Keys, stream: str, reader: Reader, cut: str) -> None:
    lost = f"{reader.needs_from} to {cut}"
    log.error("follower_cut", stream=stream, group=reader.name, lost=lost)
    event = AlertRaised(
        alert=f"follower_cut:{stream}:{reader.name}",
        summary=f"{reader.name} was too far behind on {stream}; entries {lost} are lost to it",
    )
    fields = envelope(event, "router", ordinal=cut)
    publish, guard = script("publish"), keys.published(str(fields[3]))
    stream_and_guard = (keys.stream(AlertRaised), guard)
    await client.eval(publish.text, 2, *stream_and_guard, len(fields), *fields)  # also while full
