"""Chunks on their way to reply streams: all streams of a worker are flushed in one tick."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_json

from services.inference_worker.answers import merge
from services.inference_worker.backends.port import Delta
from shared.bus.attempts import OK, Attempt, AttemptRecords
from shared.bus.connection import patiently

TICK_S = 0.03
"""Readers see no difference below 40 ms, and every flush costs a script call."""


@dataclass(slots=True)
class _Sent:
    """How far an answer is. Its pieces go one by one: a repeated one must not be overtaken."""

    pieces: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Outbox:
    """Coalesces what engines say; the first piece of an answer goes out at once."""

    def __init__(
        self, records: AttemptRecords, lease_ms: Callable[[], int], stop: Callable[[str, str], None]
    ) -> None:
        self._records = records
        self._lease_ms = lease_ms
        self._stop = stop
        self._pending: dict[str, tuple[Attempt, dict[str, Any]]] = {}
        self._sent: dict[str, _Sent] = {}
        self._tick: asyncio.Task[None] | None = None

    def put(self, attempt: Attempt, delta: Delta) -> None:
        """Queue a piece; it is flushed with all others within a tick."""
        _, waiting = self._pending.setdefault(attempt.executor, (attempt, {}))
        merge(waiting, {"content": delta.content} if delta.content else {})
        merge(waiting, delta.extra or {})
        if self._tick is None:
            first = attempt.executor not in self._sent
            self._tick = asyncio.create_task(self._flush_after(0 if first else TICK_S))

    async def close(self, attempt: Attempt) -> None:
        """Flush what is left of one answer, and wait for what is under way, before it ends."""
        if left := self._pending.pop(attempt.executor, None):
            await self._emit(*left)
        elif sent := self._sent.get(attempt.executor):
            async with sent.turn:
                pass
        self._sent.pop(attempt.executor, None)

    async def _flush_after(self, pause_s: float) -> None:
        await asyncio.sleep(pause_s)
        self._tick = None
        pending, self._pending = self._pending, {}
        await asyncio.gather(*(self._emit(*each) for each in pending.values()))

    async def _emit(self, attempt: Attempt, delta: dict[str, Any]) -> None:
        sent, piece = self._sent.setdefault(attempt.executor, _Sent()), to_json(delta)
        async with sent.turn:
            answer = await patiently(
                lambda: self._records.emit(attempt, sent.pieces, piece, self._lease_ms()), "emit"
            )
            sent.pieces += 1
        if answer != OK:
            self._stop(attempt.executor, answer)
