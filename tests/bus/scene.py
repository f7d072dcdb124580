"""A request and everybody who touches it: the leader, the workers of two nodes, an asker."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from redis.asyncio import Redis

from shared.bus.attempts import Attempt, AttemptRecords, Piece
from shared.bus.connection import ensure_group
from shared.bus.envelope import Entry
from shared.bus.keys import Keys
from shared.bus.lease import Lease
from shared.bus.records import ROUTER, WORKER, Admission, Retry, Sent
from shared.bus.requests import RequestRecords
from shared.bus.writer import Writer
from shared.config import Timing
from shared.events.base import Priority
from shared.events.inference import (
    InferenceAttemptFailed,
    InferenceCancelled,
    InferenceCompleted,
    InferenceDispatched,
    InferenceFailed,
    InferenceRequested,
    InferenceRouted,
)
from tests.bus import invariants
from tests.bus.facts import (
    ASKER,
    BODY,
    CANCELLED,
    COMPLETED,
    DEADLINE_MS,
    ELSEWHERE,
    GIVE_UP,
    LEASE_MS,
    MODEL,
    NODE,
    RECORD_FIELDS,
    REFUSAL,
    REQUEST,
    RETRY,
    failure,
)
from tests.bus.stored import Stored, read

PATIENT = Timing(router_lease_s=600.0, router_renew_s=600.0)

T = TypeVar("T")


def admission_of(entry: Entry) -> Admission:
    return Admission(
        request_id=entry.text("id"),
        priority=Priority.NORMAL,
        task="chat",
        model="",
        asked="chat",
        chain=(MODEL, "m2"),
        deadline_ms=DEADLINE_MS,
        fields=RECORD_FIELDS,
        replyto=entry.text("replyto"),
        dataref=entry.text("dataref"),
    )


async def emit(scene: "Scene", attempt: Attempt, seq: int, delta: bytes) -> str:
    piece = Piece(attempt, seq, delta)
    [status] = await scene.checked(scene.worker().emit([piece]))
    return status


def _sent(attempt: int, node: str) -> Sent:
    routed = InferenceRouted(
        request_id=REQUEST, attempt=attempt, model=MODEL, node=node, reason="free", waited_ms=3
    )
    return Sent(routed, attempt - 1, LEASE_MS)


class Scene:
    """Every call is followed by a look at all invariants. The request is always `REQUEST`.

    Only on the way to a state, where each step is a call that some test makes by itself, it is not.
    """

    entry: Entry
    """As it was last published to the inbox."""
    dispatched: Entry
    """As the node's worker last read it."""
    attempt: Attempt
    """As the worker last started it."""

    def __init__(self, client: Redis, keys: Keys, writer: Writer | None = None) -> None:
        self.client = client
        self.keys = keys
        self.writer = writer or Writer(client)
        self._lease = Lease(self.writer, keys, ROUTER, "router-1", lambda: PATIENT)
        self._on_the_way = False
        self.token = ""
        self.records = RequestRecords(self.writer, keys, self._lease.fence_key)

    async def __aenter__(self) -> "Scene":
        self._holding = asyncio.create_task(self._lease.hold())
        self.token = await self._lease.held()
        self._inbox = self.keys.stream(InferenceRequested)
        await ensure_group(self.client, self._inbox, ROUTER)
        for node in (NODE, ELSEWHERE):
            stream = self.keys.stream(InferenceDispatched, node)
            await ensure_group(self.client, stream, WORKER)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._holding.cancel()
        await asyncio.gather(self._holding, return_exceptions=True)
        await self.writer.close()

    def worker(self, instance: str = "worker-1", node: str = NODE) -> AttemptRecords:
        return AttemptRecords(self.writer, self.keys, node, instance)

    async def stored(self) -> Stored:
        stored, _ = await read(self.client, self.keys)
        return stored

    async def checked(self, call: Awaitable[T]) -> T:
        answer = await call
        if not self._on_the_way:
            invariants.check(*await read(self.client, self.keys))
        return answer

    # --- the asker -----------------------------------------------------------------------------

    async def ask(self, fields: Mapping[str, str | bytes] | None = None) -> Entry:
        """Publish the request as `fields` say, and read its entry as the router."""
        given: Mapping[Any, Any] = fields or {"id": REQUEST, "replyto": ASKER, "data": BODY}
        await self.client.xadd(self._inbox, dict(given))
        return await self.read_inbox()

    async def read_inbox(self) -> Entry:
        entry = await self._read_new(self._inbox, ROUTER)
        assert entry is not None
        self.entry = entry
        return entry

    # --- the leader ----------------------------------------------------------------------------

    async def admit(self, entry: Entry | None = None, **changes: Any) -> str:
        entry = entry or await self.ask()
        admission = replace(admission_of(entry), **changes)
        return (await self.checked(self.records.admit(self.token, entry, admission)))[0]

    async def refuse(self) -> str:
        return await self.admit(refusal=REFUSAL)

    async def admit_and_dispatch(self, entry: Entry | None = None) -> str:
        """Both in one call."""
        entry = entry or await self.ask()
        call = self.records.admit(self.token, entry, admission_of(entry), _sent(1, NODE))
        answer, _ = await self.checked(call)
        await self._read_dispatched(NODE)
        return answer

    async def dispatch(self, attempt: int = 1, node: str = NODE) -> str:
        """Where it succeeds, the node's worker also reads the entry."""
        sent = _sent(attempt, node)
        answer = await self.checked(self.records.dispatch(self.token, sent, Priority.NORMAL))
        await self._read_dispatched(node)
        return answer

    async def _read_dispatched(self, node: str) -> None:
        stream = self.keys.stream(InferenceDispatched, node)
        if entry := await self._read_new(stream, WORKER):
            self.dispatched = entry

    async def settle(
        self,
        verdict: Retry | InferenceFailed = RETRY,
        *,
        failed: InferenceAttemptFailed | None = None,
        node_lost: bool = False,
    ) -> str:
        call = self.records.settle(
            self.token, failed or failure(), Priority.NORMAL, verdict, node_lost=node_lost
        )
        return await self.checked(call)

    async def retry(self) -> str:
        return await self.settle(RETRY)

    async def give_up(self) -> str:
        return await self.settle(GIVE_UP)

    async def end(
        self,
        final: InferenceCancelled | InferenceFailed,
        node: str = NODE,
        *,
        only_waiting: bool = False,
    ) -> str:
        call = self.records.end(
            self.token, final, Priority.NORMAL, node=node, attempt=1, only_waiting=only_waiting
        )
        return await self.checked(call)

    async def cancel(self) -> str:
        return await self.end(CANCELLED)

    async def preempt(self, attempt: int = 1) -> str:
        return await self.checked(self.records.preempt(self.token, REQUEST, attempt, NODE))

    # --- the worker ----------------------------------------------------------------------------

    async def start(
        self, instance: str = "worker-1", attempt: int = 1, node: str = NODE
    ) -> Attempt | None:
        dispatched = InferenceDispatched(request_id=REQUEST, attempt=attempt, model=MODEL)
        call = self.worker(instance, node).start(
            self.dispatched, dispatched, f"{instance}/{self.dispatched.id}", LEASE_MS
        )
        started = await self.checked(call)
        if started is not None:
            self.attempt = started
        return started

    async def emit(self, seq: int = 0, delta: bytes = b'{"content":"h"}') -> str:
        return await emit(self, self.attempt, seq, delta)

    async def complete(self, completed: InferenceCompleted = COMPLETED) -> bool:
        return await self.checked(self.worker().complete(self.attempt, completed))

    async def release(self, failed: InferenceAttemptFailed | None = None) -> bool:
        return await self.checked(self.worker().release(self.attempt, failed or failure()))

    async def abandon(self, instance: str = "worker-2", attempt: int = 1) -> str:
        dispatched = InferenceDispatched(request_id=REQUEST, attempt=attempt, model=MODEL)
        return await self.checked(self.worker(instance).abandon(self.dispatched, dispatched))

    # --- time ----------------------------------------------------------------------------------

    async def lapse(self) -> None:
        """The attempt's lease ends now."""
        await self.client.zadd(self.keys.flight, {REQUEST: 1}, xx=True)

    async def overdue(self) -> None:
        """The request's deadline has come."""
        await self.client.hset(self.keys.request(REQUEST), "deadline_ms", "1")

    # --- where a request may be ----------------------------------------------------------------

    async def reach(self, state: str) -> Stored:
        """Bring the request into one of `STATES`; what the store then holds."""
        self._on_the_way = True
        for step in STATES[state]:
            await step(self)
        self._on_the_way = False
        return await self.stored()

    async def _read_new(self, stream: str, group: str) -> Entry | None:
        reply: Any = await self.client.xreadgroup(group, "c", {stream: ">"}, count=1)
        if not reply:
            return None
        [(entry_id, fields)] = reply[0][1]
        return Entry(stream, entry_id.decode(), fields)


Step = Callable[[Scene], Awaitable[Any]]

STATES: dict[str, tuple[Step, ...]] = {
    "none": (),
    "cancelled_early": (Scene.cancel,),
    "waiting": (Scene.admit,),
    "dispatched": (Scene.admit, Scene.dispatch),
    "running": (Scene.admit, Scene.dispatch, Scene.start),
    "streaming": (Scene.admit, Scene.dispatch, Scene.start, Scene.emit),
    "preempted": (Scene.admit, Scene.dispatch, Scene.start, Scene.preempt),
    "released": (Scene.admit, Scene.dispatch, Scene.start, Scene.release),
    "waiting_again": (Scene.admit, Scene.dispatch, Scene.start, Scene.release, Scene.retry),
    "completed": (Scene.admit, Scene.dispatch, Scene.start, Scene.complete),
    "failed": (Scene.admit, Scene.dispatch, Scene.start, Scene.release, Scene.give_up),
    "rejected": (Scene.refuse,),
    "cancelled": (Scene.admit, Scene.cancel),
    "cancelled_dispatched": (Scene.admit, Scene.dispatch, Scene.cancel),
    "cancelled_running": (Scene.admit, Scene.dispatch, Scene.start, Scene.cancel),
}
"""Every state of a record, and where one state has several forms, each of them."""

FINAL = ("completed", "failed", "rejected", "cancelled")
HOLDING = ("cancelled_dispatched", "cancelled_running")
"""Final, with the slot still held until the worker lets go."""
