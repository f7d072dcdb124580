"""One connection to the store, for batches of commands that are packed already.

redis-py's pipeline packs in Python and looks at every reply several times, which is five times the
CPU of what is left here: its connection, its parser, and its errors.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from hiredis import pack_command
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.asyncio import Redis
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
        self._connection: Any = client.connection_pool.make_connection()  # type: ignore[no-untyped-call]

    async def ask(self, commands: Sequence[bytes]) -> list[Reply]:
        """The replies as the store gave them, among them its errors.

        Raises redis-py's connection errors, after which some of the commands may have been done.
        """
        connection = self._connection
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await connection.send_packed_command(b"".join(commands), check_health=False)
                return await self._replies(len(commands))
        except BaseException:
            await connection.disconnect(nowait=True)
            raise

    async def read(self, *words: Argument) -> list[tuple[bytes, Rows]]:
        """What an XREAD or XREADGROUP finds, by stream; raises redis-py's errors."""
        [reply] = await self.ask([packed(*words)])
        if isinstance(reply, Exception):
            raise reply
        return [(stream, _rows(entries)) for stream, entries in reply or ()]

    async def close(self) -> None:
        await self._connection.disconnect()

    async def _replies(self, count: int) -> list[Reply]:
        """The connection's own `read_response` takes longer for each than the parser does."""
        parser = self._connection._parser
        replies: list[Reply] = []
        while len(replies) < count:
            reply = parser._reader.gets()
            if reply is NOT_ENOUGH_DATA:
                await parser.read_from_socket()
            elif isinstance(reply, ConnectionError):
                raise reply
            else:
                replies.append(reply)
        return replies


def _rows(entries: list[Any]) -> Rows:
    return [(entry_id, _pairs(words or ())) for entry_id, words in entries]


def _pairs(words: Sequence[bytes]) -> dict[bytes, bytes]:
    each = iter(words)
    return dict(zip(each, each, strict=True))
