"""One writer per process: what is written in a turn of the event loop goes in one round trip."""

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, ResponseError

from shared.bus.line import Line, packed
from shared.bus.pace import collect
from shared.bus.scripts import Argument, Fields, Script

Reply = Any


STORE_REFUSES = ("OOM", "MISCONF", "READONLY", "NOREPLICAS")
"""A script's failure that says something of the store and nothing of the script."""


class ScriptError(Exception):
    """A script cannot do this, now or later: a key has a foreign type, or there is too much."""


class Writer:
    """Collects commands while a round trip is under way; they form the next one."""

    def __init__(self, client: Redis) -> None:
        self._line = Line(client)
        self._waiting: list[tuple[bytes, asyncio.Future[Reply]]] = []
        self._flush: asyncio.Task[None] | None = None

    def send(self, *words: Argument) -> asyncio.Future[Reply]:
        """Queue a command. The future carries its reply, or the error that the store gave.

        Raises `TypeError` or `UnicodeEncodeError` where a word cannot be sent.
        """
        command = packed(*words)
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append((command, future))
        if self._flush is None:
            self._flush = asyncio.create_task(self._run())
        return future

    async def run(
        self,
        script: Script,
        keys: dict[str, str],
        args: dict[str, Argument] | None = None,
        events: dict[str, Fields] | None = None,
        rest: Sequence[Argument] = (),
        more_keys: Sequence[str] = (),
    ) -> list[Any]:
        """Run a script; its answer as the store gave it: a list whose first item is a status.

        Raises `ScriptError` where these keys or arguments are at fault, and redis-py's own errors.
        """
        words = script.command(keys, args, events, rest, more_keys)
        try:
            reply = await self._answer(script, words)
        except ResponseError as error:
            if "user_script" in str(error) and not str(error).startswith(STORE_REFUSES):
                raise ScriptError(f"{script.name}: {error}") from error
            raise
        if reply and reply[0] == b"wrong_type":
            raise ScriptError(f"{script.name}: key {reply[1].decode()} is a {reply[2].decode()}")
        return list(reply)

    async def _answer(self, script: Script, words: list[Argument]) -> Reply:
        try:
            return await self.send(*words)
        except NoScriptError:
            await self.send("SCRIPT", "LOAD", script.text)
            return await self.send(*words)

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._round_trip(batch)
                await collect(len(batch))
        finally:
            self._flush = None

    async def _round_trip(self, batch: list[tuple[bytes, asyncio.Future[Reply]]]) -> None:
        try:
            replies = await self._line.ask([command for command, _ in batch])
        except Exception as error:  # noqa: BLE001 - who asked must hear it, or waits for ever
            replies = [error] * len(batch)
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        for (_, future), reply in zip(batch, replies, strict=True):
            _resolve(future, reply)

    async def close(self) -> None:
        if self._flush is not None:
            await self._flush
        self._line.close()


def _resolve(future: asyncio.Future[Reply], reply: Reply) -> None:
    if future.done():
        return
    if isinstance(reply, Exception):
        future.set_exception(reply)
    else:
        future.set_result(reply)
