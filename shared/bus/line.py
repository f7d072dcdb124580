"""One connection to the store, for batches of commands that are packed already.

redis-py opens it and parses what comes; in between, its pipelines and its streams take several
times the CPU of the protocol here.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from hiredis import pack_command
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.asyncio import ConnectionPool, Redis
from redis.exceptions import ConnectionError

from shared.bus.scripts import Argument

ANSWER_TIMEOUT_S = 10.0
"""Above every BLOCK. redis-py's own socket timeout writes through `asyncio.wait_for`, which in
Python 3.11 swallows a cancellation that comes at the wrong moment: a stop would never end."""

Reply = Any

Rows = list[tuple[bytes, dict[bytes, bytes]]]
"""Entries of a stream: their ids and fields."""


def packed(*words: Argument) -> bytes:
    """A command as it goes over the wire.

    Raises `TypeError` or `UnicodeEncodeError` where a word cannot be sent.
    """
    command: bytes = pack_command(words)  # type: ignore[arg-type] # its stub knows one word only
    return command


class Line:
    """Opened by the first batch, and anew by the next one after it broke."""

    def __init__(self, client: Redis) -> None:
        self._pool = client.connection_pool
        self._answers: _Answers | None = None

    async def ask(self, commands: Sequence[bytes]) -> list[Reply]:
        """The replies as the store gave them, among them its errors.

        Raises redis-py's connection errors and `TimeoutError`, after which some of the commands
        may have been done.
        """
        answers = self._answers
        try:
            if answers is None or answers.lost:
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    answers = self._answers = await _Answers.opened(self._pool)
            return await answers.to(b"".join(commands), len(commands))
        except BaseException:
            self._drop()
            raise

    async def read(self, *words: Argument) -> list[tuple[bytes, Rows]]:
        """What an XREAD or XREADGROUP finds, by stream; raises redis-py's errors."""
        [reply] = await self.ask([packed(*words)])
        if isinstance(reply, Exception):
            raise reply
        return [(stream, _rows(entries)) for stream, entries in reply or ()]

    def close(self) -> None:
        self._drop()

    def _drop(self) -> None:
        if self._answers is not None:
            self._answers.end()
            self._answers = None


class _Answers(asyncio.Protocol):
    """Collects the replies to one batch at a time."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._parser = connection._parser._reader
        self._transport = connection._writer.transport
        self._loop = asyncio.get_running_loop()
        self._replies: list[Reply] = []
        self._wanted = 0
        self._done: asyncio.Future[list[Reply]] | None = None
        self.lost = False

    @classmethod
    async def opened(cls, pool: ConnectionPool) -> "_Answers":
        """Takes over a connection that redis-py has opened, with all that its URL asks for."""
        connection: Any = pool.make_connection()  # type: ignore[no-untyped-call]
        await connection.connect()
        answers = cls(connection)
        answers._transport.set_protocol(answers)
        return answers

    async def to(self, commands: bytes, count: int) -> list[Reply]:
        self._replies, self._wanted = [], count
        self._done = self._loop.create_future()
        self._transport.write(commands)
        late = self._loop.call_later(ANSWER_TIMEOUT_S, self._fail, TimeoutError("no answer"))
        try:
            return await self._done
        finally:
            late.cancel()

    def data_received(self, data: bytes) -> None:
        self._parser.feed(data)
        while (reply := self._parser.gets()) is not NOT_ENOUGH_DATA:
            if isinstance(reply, ConnectionError):
                self._fail(reply)
                return
            self._replies.append(reply)
        if len(self._replies) == self._wanted and self._done and not self._done.done():
            self._done.set_result(self._replies)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(ConnectionError(f"the store closed the connection: {exc or 'no reason given'}"))

    def end(self) -> None:
        self._transport.abort()
        self._connection._reader = self._connection._writer = None  # nothing left for it to close

    def _fail(self, error: Exception) -> None:
        self.lost = True
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)


def _rows(entries: list[Any]) -> Rows:
    return [(entry_id, _pairs(words or ())) for entry_id, words in entries]


def _pairs(words: Sequence[bytes]) -> dict[bytes, bytes]:
    each = iter(words)
    return dict(zip(each, each, strict=True))
