"""The request records, as a node's worker sees them: one attempt at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shared.bus.envelope import Entry, utc_now
from shared.bus.ids import random_id
from shared.bus.keys import Keys
from shared.bus.records import WORKER, to_data
from shared.bus.scripts import Argument, script
from shared.bus.writer import Writer
from shared.events.inference import (
    FailureReason,
    InferenceAttemptFailed,
    InferenceCompleted,
    InferenceDispatched,
    InferenceStarted,
)

OK = "ok"

TOLD = ("operation", "maxtokens", "replyto", "replymode", "admitted_ms", "started_ms")
"""What of its record an attempt is told."""

PIECES_AT_ONCE = 1000
"""Lua passes on 8000 words at most."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that this worker holds: what every later script must show to be heard."""

    dispatched: InferenceDispatched
    node: str
    executor: str
    entry: Entry
    record: dict[str, str]
    body: bytes

    @property
    def request_id(self) -> str:
        return self.dispatched.request_id

    @property
    def number(self) -> int:
        return self.dispatched.attempt

    @property
    def model(self) -> str:
        return self.dispatched.model

    @property
    def replyto(self) -> str:
        return self.record.get("replyto", "")

    @property
    def wants_chunks(self) -> bool:
        return bool(self.replyto) and self.record.get("replymode") == "chunks"

    def stamp_ms(self, name: str) -> int:
        """A stage's timestamp in milliseconds of the store's clock; 0 where it never came."""
        return int(self.record.get(name) or 0)


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of an attempt's answer, as an OpenAI delta; `seq` counts those of one answer."""

    attempt: Attempt
    seq: int
    delta: bytes

    def words(self) -> tuple[Argument, ...]:
        attempt = self.attempt
        request_id, number = attempt.request_id, attempt.number
        return (request_id, number, attempt.executor, attempt.replyto, self.seq, self.delta)


class AttemptRecords:
    def __init__(self, writer: Writer, keys: Keys, node: str, instance: str) -> None:
        self._writer = writer
        self._keys = keys
        self._node = node
        self._instance = instance

    def new_executor(self, entry: Entry) -> str:
        return f"{self._instance}/{entry.id}/{random_id()[:8]}"

    async def start(
        self, entry: Entry, dispatched: InferenceDispatched, executor: str, lease_ms: int
    ) -> Attempt | None:
        """Take a dispatched attempt; None where it is no longer to be had.

        `executor` is of this one execution: repeating the call with it is harmless, and nobody
        else can start the attempt again.
        """
        request_id, number = dispatched.request_id, dispatched.attempt
        started = InferenceStarted(
            request_id=request_id, attempt=number, node=self._node, model=dispatched.model
        )
        reply = await self._writer.run(
            script("start"),
            keys={
                **self._keys.record(request_id),
                "node": entry.stream,
            },
            args={
                "time": utc_now(),
                "id": request_id,
                "attempt": number,
                "node": self._node,
                "executor": executor,
                "entry": entry.id,
                "group": WORKER,
                "lease_ms": lease_ms,
                "started_data": to_data(started),
            },
        )
        if reply[0] != b"ok":
            return None
        told = zip(TOLD, reply[2], strict=True)
        record = {name: value.decode() for name, value in told if value is not None}
        return Attempt(dispatched, self._node, executor, entry, record, reply[1])

    async def beat(self, attempt: Attempt, lease_ms: int) -> str:
        """Renew the lease: `ok`, or why to stop (`cancelled`, `preempted`, `deadline`, …)."""
        reply = await self._writer.run(
            script("beat"),
            keys={"request": self._keys.request(attempt.request_id), "flight": self._keys.flight},
            args={**_who(attempt), "lease_ms": lease_ms},
        )
        return str(reply[0].decode())

    async def emit(self, pieces: Sequence[Piece]) -> list[str]:
        """Send pieces of answers to whoever asked; for each `ok`, or why its attempt must stop.

        Pieces of one answer go in their order; more than a thousand make several calls.
        """
        statuses: list[str] = []
        for at in range(0, len(pieces), PIECES_AT_ONCE):
            reply = await self._writer.run(
                script("emit"),
                keys={},
                args={
                    "record_prefix": self._keys.request(""),
                    "reply_prefix": self._keys.reply(""),
                },
                rest=[word for piece in pieces[at : at + PIECES_AT_ONCE] for word in piece.words()],
            )
            statuses += [status.decode() for status in reply]
        return statuses

    async def complete(self, attempt: Attempt, completed: InferenceCompleted) -> bool:
        """End the request with its answer; False where this attempt no longer counts."""
        return await self._finish(attempt, "completed", "", 0, to_data(completed))

    async def release(self, attempt: Attempt, failed: InferenceAttemptFailed) -> bool:
        """Give the request back to the router; False where this attempt no longer counts."""
        return await self._finish(
            attempt, "released", failed.reason, failed.charge, to_data(failed)
        )

    async def abandon(self, entry: Entry, dispatched: InferenceDispatched) -> str:
        """Release what the node's previous instance was running.

        Returns `ok`, `dispatched` (nobody started it: it can be), `own` or `stale`.
        """
        failed = InferenceAttemptFailed(
            request_id=dispatched.request_id,
            attempt=dispatched.attempt,
            node=self._node,
            model=dispatched.model,
            reason=FailureReason.WORKER_RESTARTED,
            message="the worker of this node was restarted",
        )
        reply = await self._writer.run(
            script("abandon"),
            keys={
                **self._keys.record(dispatched.request_id),
                "node": entry.stream,
            },
            args={
                "time": utc_now(),
                "id": dispatched.request_id,
                "attempt": dispatched.attempt,
                "node": self._node,
                "instance": self._instance,
                "entry": entry.id,
                "group": WORKER,
                "data": to_data(failed),
            },
        )
        return str(reply[0].decode())

    async def _finish(
        self,
        attempt: Attempt,
        outcome: str,
        reason: str,
        charge: int,
        data: str,
    ) -> bool:
        reply: list[Any] = await self._writer.run(
            script("finish"),
            keys={
                **self._keys.record(attempt.request_id),
                "node": attempt.entry.stream,
            },
            args={
                **_who(attempt),
                "time": utc_now(),
                "entry": attempt.entry.id,
                "group": WORKER,
                "outcome": outcome,
                "reason": reason,
                "charge": charge,
                "data": data,
            },
        )
        return bool(reply[0] == b"ok")


def _who(attempt: Attempt) -> dict[str, str | int | bytes | float]:
    return {
        "id": attempt.request_id,
        "attempt": attempt.number,
        "executor": attempt.executor,
    }
