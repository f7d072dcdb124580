"""The router's life: standby until it holds the lease, then one term after another."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import suppress
from time import monotonic

import structlog

from services.router import intake, settling
from services.router.term import Term
from services.router.watch import Watch, forget
from shared.bus import index, leading
from shared.bus.bus import Bus
from shared.bus.clock import StoreClock
from shared.bus.envelope import Entry
from shared.bus.group_read import BatchHandler, GroupRead
from shared.bus.inboxes import Inboxes
from shared.bus.leading import ENDS_A_TERM, StepDownError
from shared.bus.lease import Lease
from shared.bus.records import Row
from shared.bus.requests import RequestRecords
from shared.bus.tail import decoded
from shared.events.base import Priority
from shared.events.inference import (
    InferenceAttemptFailed,
    InferenceCancelRequested,
    InferenceCompleted,
    InferenceRequested,
)
from shared.events.models import ModelDemandRefused, NodeHeartbeat, NodeReturned
from shared.log import told
from shared.telemetry import COMPLETED

log = structlog.get_logger()

CONSUMER = "router"
"""Leaders share one consumer name: what a fenced predecessor had read is then its successor's."""

REREAD_S = 0.5
RETURN_S = 1.0
"""How long a worker takes at most to find its way back to a store that was away."""


class Router:
    """Leads while it holds the lease. Everything that it knows lasts one term."""

    def __init__(self, bus: Bus, lease: Lease) -> None:
        self._bus = bus
        self._lease = lease
        self._records = RequestRecords(bus.writer, bus.keys, lease.fence_key)
        self._term: Term | None = None

    def role(self) -> str:
        return "active" if self._term is not None else "standby"

    async def run(self) -> None:
        """Lead whenever this process holds the lease, until cancelled."""
        await leading.lead(self._lease, self._lead, self._bus.note_failure)

    async def _lead(self, token: str) -> None:
        clock = StoreClock(self._bus.writer)
        await clock.look()
        term = self._term = Term(self._bus, self._records, clock, token)
        watch = Watch(term)
        shared = self._streams(term)
        inboxes = Inboxes(self._bus, CONSUMER, shared[self._bus.keys.stream(InferenceRequested)])
        log.info("leading", token=token)
        readers: list[GroupRead] = []
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._broken(term))
                group.create_task(leading.holding(self._lease, token))
                group.create_task(self._follow(term))
                await self._rebuild(term)
                for loop in watch.loops():
                    group.create_task(loop())
                await self._meet_nodes(term)
                group.create_task(watch.give_up())
                for stream, handler in shared.items():
                    await self._bus.ensure_group(stream)
                    left = leading.reread(self._bus, stream, CONSUMER, handler, REREAD_S)
                    group.create_task(left)
                    readers.append(await self._bus.read_group(stream, CONSUMER, handler))
                group.create_task(inboxes.follow())
                group.create_task(inboxes.reread(REREAD_S))
        finally:
            self._term = None
            forget()
            for reader in readers:
                await reader.stop()
            await inboxes.stop()

    async def _rebuild(self, term: Term) -> None:
        """Order and used slots from the records, most urgent first, dispatching on the way."""
        began_s, now_ms = monotonic(), term.clock.now_ms()
        await settling.restore_flight(term)
        for priority in Priority:
            async for page in self._waiting(term, priority):
                for record in page:
                    if term.lacks(record.request_id):
                        term.backlog.add(settling.waiting_from(record, now_ms))
                term.pump()
                await asyncio.sleep(0)
        log.info("rebuilt", waiting=len(term.backlog), took_s=round(monotonic() - began_s, 3))

    def _waiting(self, term: Term, priority: Priority) -> AsyncIterator[list[Row]]:
        return index.waiting(self._bus.writer, self._bus.keys, priority, term.dispatches)

    async def _meet_nodes(self, term: Term) -> None:
        """Before all nodes could be heard, requests would be refused for lack of one.

        The looking back shows them at once, unless the store was away: then all may be about to
        return, and the first is no reason to refuse what the second offers.
        """
        enough_s = self._bus.config.timing.heartbeat_s + RETURN_S
        with suppress(TimeoutError):
            async with asyncio.timeout(enough_s):
                await term.listened(enough_s)
        log.info("listened", nodes=len(term.fleet.nodes))

    def _streams(self, term: Term) -> dict[str, BatchHandler]:
        """The shared inbox and the cancellations: read raw, by one shared consumer name."""

        async def on_requested(entries: list[Entry]) -> None:
            await self._guarded(term, intake.take_in(term, entries))

        async def on_cancel(entries: list[Entry]) -> None:
            await self._guarded(term, intake.cancel(term, entries))

        keys = self._bus.keys
        return {
            keys.stream(InferenceRequested): on_requested,
            keys.stream(InferenceCancelRequested): on_cancel,
        }

    async def _guarded(self, term: Term, work: Awaitable[None]) -> None:
        """What goes wrong in a reader's task must end the term, not vanish in the reader."""
        try:
            await work
        except ENDS_A_TERM as error:
            term.fail(error)
        except Exception as error:
            log.exception("intake_failed")
            term.fail(StepDownError(told(error)))
            raise

    async def _follow(self, term: Term) -> None:
        keys = self._bus.keys
        handlers = {
            keys.stream(NodeHeartbeat): lambda entries: self._on_heartbeats(term, entries),
            keys.stream(ModelDemandRefused): lambda entries: self._on_refused(term, entries),
            keys.stream(InferenceCompleted): lambda entries: self._on_completed(term, entries),
            keys.stream(InferenceAttemptFailed): lambda entries: self._on_failed(term, entries),
        }
        await self._bus.tail(handlers, self._bus.config.timing.node_lost_s)

    async def _on_heartbeats(self, term: Term, entries: Sequence[Entry]) -> None:
        for message in decoded(NodeHeartbeat, entries):
            beat, entry = message.event, message.entry
            if term.hear(beat, entry.milliseconds):
                log.info("node_returned", node=beat.node)
                await self._bus.publish(NodeReturned(node=beat.node), ordinal=entry.id)

    async def _on_refused(self, term: Term, entries: Sequence[Entry]) -> None:
        for message in decoded(ModelDemandRefused, entries[-1:]):
            term.hear_refusals(message.event.refusals)

    async def _on_completed(self, term: Term, entries: Sequence[Entry]) -> None:
        """A hint that slots are free; the flight index has the last word."""
        now_ms = term.clock.now_ms()
        for entry in entries:
            subject = entry.fields.get(b"subject", b"").decode(errors="replace")
            flying = term.flying.get(subject)
            if flying is not None:
                COMPLETED.labels(flying.waiting.priority, flying.model).inc()
                term.completed(flying, entry, now_ms)
        term.pump()

    async def _on_failed(self, term: Term, entries: Sequence[Entry]) -> None:
        for message in decoded(InferenceAttemptFailed, entries):
            event = message.event
            flying = term.flying.get(event.request_id)
            if flying is not None and flying.attempt == event.attempt:
                await settling.settle(term, flying, event)

    async def _broken(self, term: Term) -> None:
        await term.broken
