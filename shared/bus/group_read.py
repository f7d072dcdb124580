"""Reading a group at the pace of one handler: for streams whose every entry is a request.

FastStream runs the other subscribers; here what it does between a read and its handler took a
seventh of the router's time.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from shared.bus.connection import BLOCK_MS, GroupReader, ensure_group
from shared.bus.envelope import Entry
from shared.bus.pace import collect
from shared.log import get_logger

log = get_logger()

BatchHandler = Callable[[list[Entry]], Awaitable[None]]

BATCH = 256

AGAIN_S = 0.1
STOP_S = 2.0
"""For how long a stop waits for the handler that is running."""


class GroupRead:
    """Hands over what is new on a stream, batch by batch, from `start` to `stop`.

    Acknowledging is the handler's. What it was handed when it failed, or when it was cut off,
    is still pending.
    """

    def __init__(
        self, reader: GroupReader, stream: str, group: str, consumer: str, handler: BatchHandler
    ) -> None:
        self._reader = reader
        self._stream = stream
        self._group = group
        self._consumer = consumer
        self._handler = handler
        self._stopped = asyncio.Event()
        self._idle = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Read no more; a handler that does not come to its end in time is cut off."""
        if self._task is None:
            return
        self._stopped.set()
        try:
            async with asyncio.timeout(STOP_S):
                await self._idle.wait()
        except TimeoutError:
            log.warning("handler_cut_off", stream=self._stream)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._reader.failing.pop(self._stream, None)

    async def _run(self) -> None:
        """What goes wrong is said, and the next batch is read all the same."""
        while not self._stopped.is_set():
            try:
                entries = await self._read()
                if entries:
                    await self._handler(entries)
            except Exception:
                log.exception("batch_failed", stream=self._stream)
                await asyncio.sleep(AGAIN_S)
            else:
                await collect(len(entries))
        self._idle.set()

    async def _read(self) -> list[Entry]:
        self._idle.set()
        reply = await self._reader.xreadgroup(
            self._group, self._consumer, {self._stream: ">"}, count=BATCH, block=BLOCK_MS
        )
        self._idle.clear()
        return [
            Entry(self._stream, entry_id.decode(), fields)
            for _, rows in reply
            for entry_id, fields in rows
        ]


async def pending(
    client: Redis, stream: str, group: str, consumer: str, count: int = BATCH
) -> list[Entry]:
    """Entries delivered to this consumer name and not yet acknowledged, oldest first."""
    try:
        reply: Any = await client.xreadgroup(group, consumer, {stream: "0"}, count=count)
    except ResponseError as error:
        if not str(error).startswith("NOGROUP"):
            raise
        await ensure_group(client, stream, group)
        return []
    rows = reply[0][1] if reply else []
    if gone := [entry_id for entry_id, fields in rows if not fields]:
        await client.xack(stream, group, *gone)  # deleted, yet still pending
    return [Entry(stream, entry_id.decode(), fields) for entry_id, fields in rows if fields]
