"""Chunks on their way to reply streams: all streams of a worker are flushed in one tick."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_json

from services.inference_worker.answers import merge
from services.inference_worker.backends.port import Delta
from services.inference_worker.ticks import next_flush_in_s
from shared.bus.attempts import OK, Attempt, AttemptRecords, Piece
from shared.bus.connection import patiently


@dataclass(slots=True)
class _Answer:
    """How far an answer is. What waits is taken when its turn comes: taken before, it could be
    overtaken by what was said after it, or by the end.
    """

    attempt: Attempt
    waiting: dict[str, Any] = field(default_factory=dict)
    pieces: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def take(self) -> Piece:
        piece = Piece(self.attempt, self.pieces, to_json(self.waiting))
        self.waiting = {}
        self.pieces += 1
        return piece


class Outbox:
    """Coalesces what engines say; the first piece of an answer goes out at once."""

    def __init__(self, records: AttemptRecords, stop: Callable[[str, str], None]) -> None:
        self._records = records
        self._stop = stop
        self._answers: dict[str, _Answer] = {}
        self._tick: asyncio.Task[None] | None = None

    def put(self, attempt: Attempt, delta: Delta) -> None:
        """Queue a piece; it is flushed with all others within a tick."""
        first = attempt.executor not in self._answers
        answer = self._answers.setdefault(attempt.executor, _Answer(attempt))
        merge(answer.waiting, {"content": delta.content} if delta.content else {})
        merge(answer.waiting, delta.extra or {})
        if self._tick is None:
            self._tick = asyncio.create_task(self._flush(at_once=first))

    async def close(self, attempt: Attempt) -> None:
        """Flush what is left of one answer, and wait for what is under way, before it ends."""
        if answer := self._answers.get(attempt.executor):
            await self._emit([answer])
            self._answers.pop(attempt.executor, None)

    async def _flush(self, *, at_once: bool) -> None:
        now_s = asyncio.get_running_loop().time()
        await asyncio.sleep(0 if at_once else next_flush_in_s(now_s))
        self._tick = None
        await self._emit([answer for answer in self._answers.values() if answer.waiting])

    async def _emit(self, answers: Sequence[_Answer]) -> None:
        """Send what they have said since they were last heard, all in one call."""
        async with AsyncExitStack() as turns:
            for answer in answers:
                await turns.enter_async_context(answer.turn)
            spoken = [answer for answer in answers if answer.waiting]
            pieces = [answer.take() for answer in spoken]
            if not pieces:
                return
            statuses = await patiently(lambda: self._records.emit(pieces), "emit")
        for answer, status in zip(spoken, statuses, strict=True):
            if status != OK:
                self._stop(answer.attempt.executor, status)
