"""The request records, as the leading router works on them.

Every method is one atomic script, repeating it is harmless, and none does anything unless the
caller's fence token still leads: `FencedError` means that somebody else does.
"""

from collections.abc import Sequence
from typing import Any

from pydantic_core import to_json

from shared.bus.envelope import Entry, utc_now
from shared.bus.keys import Keys
from shared.bus.records import (
    NOT_SENT,
    ROUTER,
    WORKER,
    Admission,
    Retry,
    Sent,
    to_data,
)
from shared.bus.scripts import Argument, script
from shared.bus.writer import Writer
from shared.events.base import Priority
from shared.events.inference import (
    FailureReason,
    InferenceAttemptFailed,
    InferenceCancelled,
    InferenceDispatched,
    InferenceFailed,
    InferenceRejected,
    InferenceStopRequested,
)


class FencedError(Exception):
    """This process no longer leads."""


class RequestRecords:
    """The leader's hand on all requests; `token` is its fence token at the time of the call."""

    def __init__(self, writer: Writer, keys: Keys, fence_key: str) -> None:
        self._writer = writer
        self._keys = keys
        self._fence_key = fence_key

    async def admit(
        self, token: str, entry: Entry, admission: Admission, sent: Sent | None = None
    ) -> tuple[str, int]:
        """Turn an inbox entry into a record or its refusal, and acknowledge it; with `sent`, hand
        the request to a node at once.

        Returns what became of it (`waiting`, `dispatched`, `rejected`, `cancelled`, `duplicate`,
        `conflict`, `gone`) and, for the first two, when it was admitted, in milliseconds of the
        store's clock.
        """
        request_id = admission.request_id
        reply = await self._run(
            "admit",
            token,
            keys={
                **self._record(request_id, admission.priority),
                "inbox": entry.stream,
                "blob": self._keys.blob(admission.dataref or "none"),
                "reply": self._keys.reply(admission.replyto or "none"),
                "absent": self._keys.absent,
                "node": self._node(sent.routed.node if sent else ""),
            },
            args={
                "group": ROUTER,
                "entry": entry.id,
                "id": request_id,
                **_refusal(admission.refusal),
                "chain_json": to_json(admission.chain),
                "deadline_ms": admission.deadline_ms,
                "reply_name": admission.replyto,
                "asked": admission.asked,
                **(sent.arguments() if sent else NOT_SENT),
            },
            rest=admission.record(),
        )
        admitted = reply[0] in (b"waiting", b"dispatched")
        return reply[0].decode(), int(reply[1]) if admitted else 0

    async def dispatch(self, token: str, sent: Sent, priority: Priority) -> str:
        """Hand a waiting request to a node: `ok`, or the state that it is in instead."""
        routed = sent.routed
        reply = await self._run(
            "dispatch",
            token,
            keys={
                **self._record(routed.request_id, priority),
                "node": self._node(routed.node),
            },
            args={"id": routed.request_id, "attempt": routed.attempt, **sent.arguments()},
        )
        return _status(reply)

    async def settle(
        self,
        token: str,
        failed: InferenceAttemptFailed,
        priority: Priority,
        verdict: Retry | InferenceFailed,
        *,
        node_lost: bool = False,
    ) -> str:
        """Decide what follows a failed attempt.

        Returns `waiting` or `failed`; `alive` where its lease goes on; `first_byte` or `deadline`
        where the record has outrun the decision to retry; `attempt` where another one is under way;
        `waits_already`; else the state that it is in.
        """
        request_id, attempt = failed.request_id, failed.attempt
        reply = await self._run(
            "settle",
            token,
            keys={
                **self._record(request_id, priority),
                "node": self._node(failed.node),
            },
            args={
                "id": request_id,
                "attempt": attempt,
                "group": WORKER,
                "node_lost": int(node_lost),
                **_verdict(verdict),
                "charge": failed.charge,
                "reason": failed.reason,
                "attempt_data": to_data(failed),
            },
        )
        return _status(reply)

    async def end(
        self,
        token: str,
        final: InferenceCancelled | InferenceFailed,
        priority: Priority,
        *,
        node: str = "",
        attempt: int = 0,
        only_waiting: bool = False,
    ) -> str:
        """End a request from outside, with a stop for the node that runs it.

        Returns `ok`, `early` (a mark for its entry, which has not come yet), `final`, `none`,
        `flying` where only waiting ones were meant. Which node has it, the record knows best.
        """
        reply = await self._end(token, final, priority, node, attempt, only_waiting)
        if reply[0] == b"node":
            node, attempt = reply[1].decode(), int(reply[2])
            reply = await self._end(token, final, priority, node, attempt, only_waiting)
        return str(reply[0].decode())

    async def _end(
        self,
        token: str,
        final: InferenceCancelled | InferenceFailed,
        priority: Priority,
        node: str,
        attempt: int,
        only_waiting: bool,
    ) -> list[Any]:
        request_id = final.request_id
        outcome, reason = _outcome(final)
        stop = InferenceStopRequested(request_id=request_id, attempt=attempt, reason=reason)
        return await self._run(
            "end",
            token,
            keys={
                **self._record(request_id, priority),
                "stop": self._keys.stream(InferenceStopRequested, node or "none"),
            },
            args={
                "id": request_id,
                "outcome": outcome,
                "reason": reason,
                "node": node,
                "only_waiting": int(only_waiting),
                "data": to_data(final),
                "stop_data": to_data(stop),
            },
        )

    async def preempt(self, token: str, request_id: str, attempt: int, node: str) -> str:
        """Ask the worker of a running attempt that has not streamed yet to stop."""
        stop = InferenceStopRequested(
            request_id=request_id, attempt=attempt, reason=FailureReason.PREEMPTED
        )
        reply = await self._run(
            "preempt",
            token,
            keys={
                "request": self._keys.request(request_id),
                "stop": self._keys.stream(InferenceStopRequested, node),
            },
            args={"id": request_id, "attempt": attempt, "stop_data": to_data(stop)},
        )
        return _status(reply)

    async def reprioritise(
        self, token: str, request_id: str, before: Priority, after: Priority
    ) -> str:
        """Move a waiting request to another class; its age stays."""
        reply = await self._run(
            "reprioritise",
            token,
            keys={
                "request": self._keys.request(request_id),
                "from": self._keys.waiting(before),
                "to": self._keys.waiting(after),
            },
            args={"id": request_id, "priority": after},
        )
        return _status(reply)

    def _node(self, name: str) -> str:
        return self._keys.stream(InferenceDispatched, name or "none")

    def _record(self, request_id: str, priority: Priority) -> dict[str, str]:
        return {**self._keys.record(request_id), "waiting": self._keys.waiting(priority)}

    async def _run(
        self,
        name: str,
        token: str,
        keys: dict[str, str],
        args: dict[str, Argument],
        rest: Sequence[Argument] = (),
    ) -> list[Any]:
        reply = await self._writer.run(
            script(name),
            {**keys, "fence": self._fence_key},
            {**args, "token": token, "time": utc_now()},
            rest=rest,
        )
        if reply[0] == b"fenced":
            raise FencedError(name)
        return reply


def _status(reply: list[Any]) -> str:
    return str((reply[1] if reply[0] == b"state" else reply[0]).decode())


def _refusal(refusal: InferenceRejected | None) -> dict[str, Argument]:
    if refusal is None:
        return {"verdict": "waiting", "refusal": "", "reason": ""}
    return {"verdict": "rejected", "refusal": to_data(refusal), "reason": refusal.reason}


def _verdict(verdict: Retry | InferenceFailed) -> dict[str, Argument]:
    match verdict:
        case Retry(position, not_before_ms):
            retry: dict[str, Argument] = {"position": position, "not_before_ms": not_before_ms}
            return {"verdict": "waiting", **retry, "final_reason": "", "data": ""}
        case InferenceFailed():
            final = {"final_reason": verdict.reason, "data": to_data(verdict)}
            return {"verdict": "failed", "position": 0, "not_before_ms": 0, **final}


def _outcome(final: InferenceCancelled | InferenceFailed) -> tuple[str, FailureReason]:
    if isinstance(final, InferenceFailed):
        return "failed", final.reason
    return "cancelled", FailureReason.CANCELLED
