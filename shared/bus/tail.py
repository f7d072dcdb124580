"""Following streams without a group: for snapshots and hints, where the last one counts."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from shared.bus.connection import BLOCK_MS, UNAVAILABLE
from shared.bus.envelope import E, Entry, Message, decode
from shared.bus.ids import order
from shared.bus.line import ANSWER_TIMEOUT_S, Line
from shared.bus.pace import collect
from shared.bus.scripts import Argument
from shared.log import get_logger

log = get_logger()

UNSEEN_S = BLOCK_MS / 1000 + ANSWER_TIMEOUT_S

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
    """Hand each stream's entries to its handler, from `lookback_s` ago on, until cancelled.

    No new entry is passed over, whatever becomes of the store's clock and of the stream.
    """
    positions: dict[str, str] = {}
    certain = False
    line = Line(client)
    try:
        while True:
            try:
                if not certain:
                    for stream in handlers:
                        position = positions.get(stream)
                        positions[stream] = await _position(client, stream, position, lookback_s)
                reply = await line.read(*_read_after(positions, count))
            except UNAVAILABLE:
                certain = False
                await asyncio.sleep(0.2)
                continue
            certain = bool(reply)
            for name, rows in reply:
                stream = name.decode()
                entries = [Entry(stream, entry_id.decode(), fields) for entry_id, fields in rows]
                positions[stream] = entries[-1].id
                await handlers[stream](entries)
            await collect(sum(len(rows) for _, rows in reply))
    finally:
        line.close()


async def _position(client: Redis, stream: str, position: str | None, lookback_s: float) -> str:
    """Where to read on. A stream that was emptied, or whose last entries a crash took, goes on
    before the position where the clock was set back, which is seen within `UNSEEN_S`.

    Entries that come while the clock is behind the last one get ids just after it, so that the
    clock's own time is no place to begin.
    """
    last = await _last(client, stream)
    last_ms, _ = order(last)
    if position is None:
        begin_ms = max(last_ms, await redis_now_ms(client)) - lookback_s * 1000
        return min(f"{max(0, begin_ms):.0f}-0", last, key=order)
    if order(position) > order(last):
        return f"{max(0, last_ms - (lookback_s + UNSEEN_S) * 1000):.0f}-0"
    return position


async def _last(client: Redis, stream: str) -> str:
    try:
        about: Any = await client.xinfo_stream(stream)
    except ResponseError:  # there is no such stream
        return "0-0"
    last: bytes = about["last-generated-id"]
    return last.decode()


def _read_after(positions: Mapping[str, str], count: int) -> list[Argument]:
    words: list[Argument] = ["XREAD", "COUNT", count, "BLOCK", BLOCK_MS]
    return [*words, "STREAMS", *positions, *positions.values()]
