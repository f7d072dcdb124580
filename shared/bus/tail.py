"""Following streams without a group: for snapshots and hints, where the last one counts."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

from redis.asyncio import Redis

from shared.bus.connection import BLOCK_MS, UNAVAILABLE, patiently
from shared.bus.envelope import E, Entry, Message, decode
from shared.bus.line import Line
from shared.bus.pace import collect
from shared.bus.scripts import Argument
from shared.log import get_logger

log = get_logger()

EntryHandler = Callable[[Sequence[Entry]], Awaitable[None]]


def decoded(event_class: type[E], entries: Sequence[Entry]) -> Iterator[Message[E]]:
    """What these entries say; anybody can write a stream, so a follower passes over the rest."""
    for entry in entries:
        try:
            yield decode(event_class, entry)
        except ValueError:
            log.warning("invalid_event", stream=entry.stream, entry=entry.id)


async def redis_now_ms(client: Redis) -> int:
    seconds, microseconds = await client.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


async def tail(
    client: Redis, handlers: Mapping[str, EntryHandler], lookback_s: float, count: int = 500
) -> None:
    """Hand each stream's entries to its handler, from `lookback_s` ago on, until cancelled."""
    now_ms = await patiently(lambda: redis_now_ms(client), "tail")
    start = f"{max(0, now_ms - int(lookback_s * 1000))}-0"
    positions: dict[str, str] = dict.fromkeys(handlers, start)
    line = Line(client)
    try:
        while True:
            try:
                reply = await line.read(*_read_after(positions, count))
            except UNAVAILABLE:
                await asyncio.sleep(0.2)
                continue
            for name, rows in reply:
                stream = name.decode()
                entries = [Entry(stream, entry_id.decode(), fields) for entry_id, fields in rows]
                positions[stream] = entries[-1].id
                await handlers[stream](entries)
            await collect(sum(len(rows) for _, rows in reply))
    finally:
        await line.close()


def _read_after(positions: Mapping[str, str], count: int) -> list[Argument]:
    words: list[Argument] = ["XREAD", "COUNT", count, "BLOCK", BLOCK_MS]
    return [*words, "STREAMS", *positions, *positions.values()]
