"""One connection to the store, for batches of commands that are packed already.

redis-py's pipeline packs in Python and looks at every reply several times, which is five times the
CPU of what is left here: its connection, its parser, and its errors.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from shared.bus.connection import ANSWER_TIMEOUT_S

Reply = Any


class Line:
    """Opened by the first batch, and anew by the next one after it broke."""

    def __init__(self, client: Redis) -> None:
        self._connection: Any = client.connection_pool.make_connection()  # type: ignore[no-untyped-call]

    async def ask(self, packed: Sequence[bytes]) -> list[Reply]:
        """The replies as the store gave them, among them its errors.

        Raises redis-py's connection errors, after which some of the commands may have been done.
        """
        connection = self._connection
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await connection.send_packed_command(b"".join(packed), check_health=False)
                return [await self._reply() for _ in packed]
        except BaseException:
            await connection.disconnect(nowait=True)
            raise

    async def close(self) -> None:
        await self._connection.disconnect()

    async def _reply(self) -> Reply:
        try:
            return await self._connection.read_response(disconnect_on_error=False)
        except ResponseError as error:
            return error
