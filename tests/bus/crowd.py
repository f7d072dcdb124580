"""Two leaders, of which one is fenced, and any number of workers: bare calls, nothing checked."""

from collections.abc import Awaitable, Iterator
from dataclasses import replace
from typing import Any

from redis.asyncio import Redis

from shared.bus.attempts import Attempt, AttemptRecords
from shared.bus.connection import ensure_group
from shared.bus.envelope import Entry
from shared.bus.keys import Keys
from shared.bus.records import ROUTER, WORKER, Retry, Sent
from shared.bus.requests import RequestRecords
from shared.bus.scripts import script
from shared.bus.writer import Writer
from shared.events.base import Priority
from shared.events.inference import (
    FailureReason,
    InferenceAttemptFailed,
    InferenceCancelled,
    InferenceCompleted,
    InferenceDispatched,
    InferenceFailed,
    InferenceRequested,
    InferenceRouted,
)
from tests.bus.scene import admission_of

LEASE_MS = 60_000


class Crowd:
    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._writer = Writer(client)
        self._records = RequestRecords(self._writer, keys, keys.fence(ROUTER))
        self._leaders = ["router-1", "router-2"]
        self._token = ""
        self._stale_token = ""

    async def take_over(self) -> None:
        """The leader's lease ends, and the other one takes it."""
        self._leaders.reverse()
        lease = {"lease": self._keys.lease(ROUTER), "fence": self._keys.fence(ROUTER)}
        await self._client.delete(lease["lease"])
        self._stale_token = self._token
        owner: dict[str, Any] = {"owner": self._leaders[0], "ttl_ms": LEASE_MS, "known": ""}
        [token] = await self._writer.run(script("lease"), lease, owner)
        self._token = token.decode()

    async def close(self) -> None:
        await self._writer.close()

    def worker(self, node: str, instance: str = "w1") -> AttemptRecords:
        return AttemptRecords(self._writer, self._keys, node, instance)

    async def ask(self, request_id: str, content: str, asker: str) -> Entry:
        fields = {"id": request_id, "replyto": asker, "data": content}
        inbox = self._keys.stream(InferenceRequested)
        await self._client.xadd(inbox, fields)  # type: ignore[arg-type]
        return await self._read(inbox, ROUTER)

    async def read_command(self, node: str) -> Entry:
        return await self._read(self._keys.stream(InferenceDispatched, node), WORKER)

    async def admit(self, entry: Entry, priority: Priority) -> str:
        admission = replace(admission_of(entry), priority=priority)
        return (await self._records.admit(self._token, entry, admission))[0]

    async def dispatch(self, request_id: str, attempt: int, node: str, priority: Priority) -> str:
        routed = _routed(request_id, attempt, node)
        return await self._records.dispatch(self._token, Sent(routed, 0, LEASE_MS), priority)

    async def settle(
        self,
        request_id: str,
        attempt: int,
        node: str,
        priority: Priority,
        *,
        retry: bool,
        node_lost: bool,
    ) -> str:
        verdict = Retry(1, 0) if retry else _failed(request_id, FailureReason.ATTEMPTS_EXHAUSTED)
        failed = _attempt_failed(request_id, attempt, node or "none")
        return await self._records.settle(
            self._token, failed, priority, verdict, node_lost=node_lost
        )

    async def end(
        self, request_id: str, attempt: int, node: str, *, cancels: bool, only_waiting: bool
    ) -> str:
        final = (
            InferenceCancelled(request_id=request_id)
            if cancels
            else _failed(request_id, FailureReason.DEADLINE)
        )
        return await self._records.end(
            *(self._token, final, Priority.NORMAL),
            node=node,
            attempt=attempt,
            only_waiting=only_waiting,
        )

    async def preempt(self, request_id: str, attempt: int, node: str) -> str:
        return await self._records.preempt(self._token, request_id, attempt, node)

    async def reprioritise(self, request_id: str, before: Priority, after: Priority) -> str:
        return await self._records.reprioritise(self._token, request_id, before, after)

    async def finish(self, attempt: Attempt, *, completes: bool, charge: int) -> bool:
        worker = self.worker(attempt.node)
        if not completes:
            failed = _attempt_failed(attempt.request_id, attempt.number, attempt.node, charge)
            return await worker.release(attempt, failed)
        completed = InferenceCompleted(
            request_id=attempt.request_id,
            attempt=attempt.number,
            model=attempt.model,
            node=attempt.node,
            engine="llama_cpp",
            output={"text": "hi"},
        )
        return await worker.complete(attempt, completed)

    def calls_of_the_fenced_leader(self, request_id: str, entry: Entry) -> Iterator[Awaitable[Any]]:
        token, records = self._stale_token, self._records
        yield records.admit(token, entry, admission_of(entry))
        sent = Sent(_routed(request_id, 1, "n1"), 0, LEASE_MS)
        yield records.admit(token, entry, admission_of(entry), sent)
        yield records.dispatch(token, sent, Priority.NORMAL)
        failed = _attempt_failed(request_id, 1, "n1")
        yield records.settle(token, failed, Priority.NORMAL, Retry(0, 0), node_lost=True)
        final = InferenceCancelled(request_id=request_id)
        yield records.end(token, final, Priority.NORMAL, node="n1")
        yield records.preempt(token, request_id, 1, "n1")
        yield records.reprioritise(token, request_id, Priority.NORMAL, Priority.LOW)

    async def _read(self, stream: str, group: str) -> Entry:
        await ensure_group(self._client, stream, group)
        reply: Any = await self._client.xreadgroup(group, "c", {stream: ">"}, count=1)
        [(entry_id, fields)] = reply[0][1]
        return Entry(stream, entry_id.decode(), fields)


def _routed(request_id: str, attempt: int, node: str) -> InferenceRouted:
    return InferenceRouted(
        request_id=request_id, attempt=attempt, model="m1", node=node, reason="free", waited_ms=0
    )


def _failed(request_id: str, reason: FailureReason) -> InferenceFailed:
    return InferenceFailed(request_id=request_id, reason=reason, message="no answer")


def _attempt_failed(
    request_id: str, attempt: int, node: str, charge: int = 1
) -> InferenceAttemptFailed:
    return InferenceAttemptFailed(
        request_id=request_id,
        attempt=attempt,
        node=node,
        model="m1",
        reason=FailureReason.CRASHED,
        charge=charge,
    )
