"""The manager's life: standby until it holds the lease, then one term after another."""

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic

import structlog

from services.model_manager.term import Term
from shared.bus import leading
from shared.bus.bus import Bus
from shared.bus.envelope import E, Entry, decode
from shared.bus.lease import Lease
from shared.bus.tail import EntryHandler, decoded
from shared.events.gpu import GpuSampled
from shared.events.models import (
    ModelActionRequested,
    ModelDemandChanged,
    ModelStateChanged,
    NodeHeartbeat,
    NodeLost,
)

log = structlog.get_logger()

CONSUMER = "model-manager"
"""Leaders share one consumer name: an action that a predecessor had read is its successor's."""

TICK_S = 0.5
REREAD_S = 1.0


class Residency:
    """Leads while it holds the lease. Everything that it knows lasts one term, and is rebuilt
    from the snapshots that the next few seconds bring.
    """

    def __init__(self, bus: Bus, lease: Lease) -> None:
        self._bus = bus
        self._lease = lease
        self._leads = False
        self._actions = bus.keys.stream(ModelActionRequested)

    def role(self) -> str:
        return "active" if self._leads else "standby"

    async def run(self) -> None:
        """Lead whenever this process holds the lease, until cancelled."""
        await leading.lead(self._lease, self._lead, self._bus.note_failure)

    async def _lead(self, token: str) -> None:
        log.info("leading", token=token)
        term = Term(self._bus, self._lease, token)
        reader = None

        async def act(entries: Sequence[Entry]) -> None:
            await self._act(term, entries)

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(leading.holding(self._lease, token))
                group.create_task(self._follow(term))
                group.create_task(self._tick(term))
                left = leading.reread(self._bus, self._actions, CONSUMER, act, REREAD_S)
                group.create_task(left)
                reader = await self._bus.read_group(self._actions, CONSUMER, act)
                self._leads = True
        finally:
            self._leads = False
            if reader is not None:
                await reader.stop()

    async def _follow(self, term: Term) -> None:
        """From now on only: a beat that is older than this term may know nothing of a command
        that the predecessor sent.
        """
        keys = self._bus.keys
        handlers = {
            keys.stream(NodeHeartbeat): _each(NodeHeartbeat, term.on_heartbeat),
            keys.stream(GpuSampled): _each(GpuSampled, term.on_sample),
            keys.stream(ModelDemandChanged): _each(ModelDemandChanged, term.on_demand),
            keys.stream(ModelStateChanged): _each(ModelStateChanged, term.on_state_changed),
            keys.stream(NodeLost): _each(NodeLost, term.on_node_lost),
        }
        await self._bus.tail(handlers, lookback_s=0.0)

    async def _tick(self, term: Term) -> None:
        while True:
            await term.tick(monotonic())
            await asyncio.sleep(TICK_S)

    async def _act(self, term: Term, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if self._lease.token != term.token:
                return
            try:
                action = decode(ModelActionRequested, entry).event
            except ValueError as error:
                await self._bus.bury(entry, f"invalid: {type(error).__name__}")
                continue
            await term.on_action(action, entry, monotonic())
            await self._bus.writer.send("XACK", self._actions, self._bus.name, entry.id)


def _each(kind: type[E], handler: Callable[[E, Entry, float], None]) -> EntryHandler:
    async def on_entries(entries: Sequence[Entry]) -> None:
        for message in decoded(kind, entries):
            handler(message.event, message.entry, monotonic())

    return on_entries
