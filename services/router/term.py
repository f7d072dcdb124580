"""What a leader knows during its term. Memory only: a successor rebuilds it from the records."""

import asyncio
import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from time import monotonic

import structlog

from services.router.listening import listened_s
from services.router.policy.assignment import Assignment
from services.router.policy.backlog import Backlog
from services.router.policy.flight import Slot
from services.router.policy.request import Waiting
from services.router.policy.throughput import Throughput
from services.router.policy.view import Barred, Fleet, Node
from shared.bus.bus import Bus
from shared.bus.clock import StoreClock
from shared.bus.envelope import Entry
from shared.bus.index import Departures
from shared.bus.leading import StepDownError
from shared.bus.records import Sent
from shared.bus.requests import RequestRecords
from shared.events.base import REQUEST_ID
from shared.events.inference import InferenceRouted
from shared.events.models import ModelRefusal, NodeHeartbeat

log = structlog.get_logger()

REFUSALS_FRESH_S = 10.0
"""Several times as long as the model-manager takes to repeat them."""


@dataclass(frozen=True, slots=True)
class Flying:
    """An attempt under way, and the request as it was before it."""

    waiting: Waiting
    model: str
    node: str
    since_s: float = field(default_factory=monotonic)

    @property
    def attempt(self) -> int:
        return self.waiting.attempt + 1

    @property
    def slot(self) -> Slot:
        return Slot(self.node, self.model)


class Term:
    """One leadership: the fleet, the backlog and what flies, kept in step with the records."""

    def __init__(self, bus: Bus, records: RequestRecords, clock: StoreClock, token: str) -> None:
        self.bus = bus
        self.records = records
        self.clock = clock
        self.token = token
        self.fleet = Fleet()
        self.backlog = Backlog(self.fleet, bus.config)
        self.throughput = Throughput(clock.now_ms())
        self.flying: dict[str, Flying] = {}
        self.heard_s: dict[str, float] = {}
        """When each node's last heartbeat came."""
        self.refused_s = 0.0
        """When the model-manager last said what it refuses to load."""
        self._beats_ms: deque[int] = deque(maxlen=1000)
        self._heard = asyncio.Event()
        self.memory_fraction = 0.0
        self.audit_overdue = False
        """Whether the audit trail is too far behind for anything new."""
        self.queueing: set[str] = set()
        """Requests that are being admitted to wait."""
        self.settling: set[str] = set()
        """Requests whose failed attempt is being settled: once, whoever noticed it first."""
        self.strangers: frozenset[str] | set[str] = frozenset()
        """In flight at the last look, but not in memory: adopted if they are there at the next."""
        self.dispatches = Departures()
        """Each takes a request out of its index."""
        self._dispatching: set[asyncio.Task[None]] = set()
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Fails as soon as any part of the term does."""

    def fail(self, error: BaseException) -> None:
        if not self.broken.done():
            self.broken.set_exception(error)

    def hear(self, beat: NodeHeartbeat, sent_ms: int) -> bool:
        """Take in a heartbeat, sent at a time of the store's; True where the node had been lost."""
        known = self.fleet.nodes.get(beat.node)
        # Where the store's clock was set back, ids of entries are ahead of it.
        age_ms = max(0, self.clock.now_ms() - sent_ms)
        self.heard_s[beat.node] = monotonic() - age_ms / 1000
        self.fleet.put(Node.heard(beat))
        self._beats_ms.append(sent_ms)
        self._heard.set()
        self.pump()
        return known is not None and not known.alive

    def hear_refusals(self, refused: Iterable[ModelRefusal]) -> None:
        """Which models are not loaded for now, whoever waits for them."""
        self.fleet.refuse({one.model: Barred(one.why, one.retry_after_s) for one in refused})
        self.refused_s = monotonic()
        self.pump()

    def forget_refusals(self) -> None:
        """Of a model-manager that repeats them no more."""
        if monotonic() - self.refused_s > REFUSALS_FRESH_S:
            self.fleet.refuse({})

    async def listened(self, enough_s: float) -> None:
        """Wait until the nodes have been heard for so long, by this leader or before it."""
        heartbeat_s = self.bus.config.timing.heartbeat_s
        while True:
            now_ms = self.clock.now_ms()
            ages_s = [(now_ms - sent_ms) / 1000 for sent_ms in self._beats_ms]
            if listened_s(ages_s, heartbeat_s) >= enough_s:
                return
            self._heard.clear()
            await self._heard.wait()

    def lacks(self, request_id: str) -> bool:
        """Whether memory has neither its wait nor its attempt. Odd ids never get in."""
        known = request_id in self.backlog or request_id in self.flying
        return not known and re.fullmatch(REQUEST_ID, request_id) is not None

    def completed(self, flying: Flying, entry: Entry, now_ms: int) -> None:
        """An attempt was answered, as the entry of its final event says."""
        waiting = flying.waiting
        self.throughput.completed(waiting.priority, now_ms)
        dispatched_ms = entry.fields.get(b"dispatchedms", b"")
        if dispatched_ms.isdigit():
            took_ms = entry.milliseconds - int(dispatched_ms)
            self.fleet.durations.completed(flying.slot, waiting.size, took_ms, now_ms)
        self.landed(waiting.id)

    def outlasted(self, flying: Flying) -> None:
        """An attempt was unanswered when its deadline came, whenever that was noticed."""
        waiting, now_ms = flying.waiting, self.clock.now_ms()
        began_ms = now_ms - int((monotonic() - flying.since_s) * 1000)
        lasted_ms = waiting.deadline_ms - began_ms
        self.fleet.durations.outlasted(flying.slot, waiting.size, lasted_ms, now_ms)

    def landed(self, request_id: str) -> None:
        """An attempt is over and its slot free."""
        self.flying.pop(request_id, None)
        self.fleet.end(request_id)

    def pump(self) -> None:
        """Dispatch all that can run now; the scripts go out together."""
        now_ms = self.clock.now_ms()
        while assignment := self.backlog.next_assignment(now_ms):
            self._takes_off(assignment)
            self.dispatches.begun += 1
            task = asyncio.create_task(self._dispatch(assignment, now_ms))
            self._dispatching.add(task)
            task.add_done_callback(self._dispatched)

    def at_once(self, waiting: Waiting) -> Assignment | None:
        """A slot for a request that need not wait, because nobody does; None where it has to.

        Whoever asked dispatches it, or lets it land.
        """
        if self.backlog or waiting.id in self.queueing or not self.lacks(waiting.id):
            return None
        assignment = self.backlog.at_once(waiting)
        if assignment is not None:
            self._takes_off(assignment)
        return assignment

    def _takes_off(self, assignment: Assignment) -> None:
        waiting = assignment.waiting
        self.flying[waiting.id] = Flying(waiting, assignment.model, assignment.node)

    def _dispatched(self, task: "asyncio.Task[None]") -> None:
        self._dispatching.discard(task)
        self.dispatches.done += 1
        if not task.cancelled() and (error := task.exception()):
            self.fail(error)

    async def _dispatch(self, assignment: Assignment, now_ms: int) -> None:
        waiting = assignment.waiting
        sent = self.sent(assignment, now_ms)
        state = await self.records.dispatch(self.token, sent, waiting.priority)
        if state == "ok":
            return
        log.info("not_dispatched", request=waiting.id, state=state)
        self.landed(waiting.id)
        if state == "waiting":
            raise StepDownError(f"request {waiting.id} waits with another attempt number")

    def sent(self, assignment: Assignment, now_ms: int) -> Sent:
        """What the scripts say of an attempt that goes out now."""
        waiting = assignment.waiting
        routed = InferenceRouted(
            request_id=waiting.id,
            attempt=assignment.attempt,
            model=assignment.model,
            node=assignment.node,
            reason=assignment.reason,
            waited_ms=max(0, now_ms - waiting.admitted_ms),
        )
        lease_ms = int(self.bus.config.timing.flight_lease_s * 1000)
        return Sent(routed, waiting.position, lease_ms)
