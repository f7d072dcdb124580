"""Clients of the store: one for commands, one that FastStream reads groups with."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError,
    OutOfMemoryError,
    RedisError,
    ResponseError,
    TimeoutError,
)

from shared.bus.line import ANSWER_TIMEOUT_S, Line, Rows
from shared.bus.scripts import Argument, script
from shared.log import get_logger

log = get_logger()

T = TypeVar("T")

BLOCK_MS = 2000
UNREADABLE_PAUSE_S = 1.0

UNAVAILABLE = (ConnectionError, TimeoutError, BusyLoadingError, OSError)
"""The store cannot be reached, or is still reading its files."""


class Client(Redis):
    """A client whose every command is answered, or fails, in bounded time."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]


class GroupReader(Client):
    """A client whose group reads survive what FastStream's reader would stop or stall for.

    A lost group (FLUSHALL) is created again at 0, so that what is retained is delivered; a lost
    connection is waited out here, since FastStream pauses five seconds after any error, and does
    not start at all if the store is away at that moment.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.failing: dict[str, str] = {}
        """Streams that cannot be read, and why."""
        self._lines: list[Line] = []
        """Those that no read waits on."""

    async def ping(self, **_: Any) -> Any:
        """FastStream's first step: whether the store is there does not matter yet."""
        return True

    async def xgroup_create(self, *_: Any, **__: Any) -> Any:
        """FastStream's second step, at the wrong place: the bus has created the group already."""
        return True

    async def xreadgroup(  # type: ignore[override] # by whom it is called, in that form only
        self,
        groupname: str,
        consumername: str,
        streams: Mapping[str, str],
        count: int,
        block: int | None,
        noack: bool = False,
    ) -> list[tuple[bytes, Rows]]:
        assert not noack  # noqa: S101 - FastStream passes it on, and nobody here asks for it
        words: list[Argument] = ["XREADGROUP", "GROUP", groupname, consumername, "COUNT", count]
        words += [] if block is None else ["BLOCK", block]
        while True:
            try:
                reply = await self._read(*words, "STREAMS", *streams, *streams.values())
            except ResponseError as error:
                await self._mend(error, groupname, streams)
            except UNAVAILABLE as error:
                log.warning("store_unavailable", error=type(error).__name__)
                await asyncio.sleep(random.uniform(0.1, 0.4))  # noqa: S311
            else:
                for stream in streams:
                    self.failing.pop(stream, None)
                return reply

    async def aclose(self, *args: Any, **options: Any) -> None:
        for line in self._lines:
            line.close()
        await super().aclose(*args, **options)

    async def _read(self, *words: Argument) -> list[tuple[bytes, Rows]]:
        line = self._lines.pop() if self._lines else Line(self)
        try:
            return await line.read(*words)
        finally:
            self._lines.append(line)

    async def _mend(self, error: ResponseError, group: str, streams: Iterable[str]) -> None:
        """A group can be made again. What else is wrong is said in /ready until it is mended."""
        lost = str(error).startswith(("NOGROUP", "UNBLOCKED"))
        for stream in streams:
            try:
                if not lost:
                    raise error
                await ensure_group(self, stream, group)
                log.warning("group_recreated", stream=stream, group=group)
            except ResponseError as problem:
                log.warning("stream_unreadable", stream=stream, error=str(problem))
                self.failing[stream] = str(problem)
                await asyncio.sleep(UNREADABLE_PAUSE_S)


def make_client(url: str, kind: type[Client] = Client, max_connections: int = 50) -> Any:
    """A client without retries of its own: repeating a plain XADD would publish it twice."""
    keepalive = {} if url.startswith("unix:") else {"socket_keepalive": True}
    pool = ConnectionPool.from_url(
        url,
        **keepalive,
        socket_timeout=None,
        socket_connect_timeout=2.0,
        retry=Retry(NoBackoff(), 0),
        max_connections=max_connections,
        protocol=2,
    )
    return kind.from_pool(pool)


async def ensure_group(client: Any, stream: str, group: str) -> None:
    """Create the group at the beginning of its stream, unless it exists."""
    reply = await client.eval(script("group").text, 1, stream, group)
    if reply[0] != b"ok":
        raise ResponseError(f"WRONGTYPE {stream} is no stream: rename or delete that key")


async def patiently(step: Callable[[], Awaitable[T]], what: str) -> T:
    """Repeat a harmless step until the store answers: it may be starting or loading its files."""
    pause_s = 0.05
    while True:
        try:
            return await step()
        except UNAVAILABLE as error:
            log.info("waiting_for_store", step=what, error=str(error))
            await asyncio.sleep(pause_s)
            pause_s = min(1.0, pause_s * 2)


def is_out_of_memory(error: RedisError) -> bool:
    return isinstance(error, OutOfMemoryError)
