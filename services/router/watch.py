"""What the leader looks after by the clock, whether or not an event comes."""

import asyncio
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any

import structlog

from services.router import settling
from services.router.term import Term
from services.router.trail import TrailWatch
from shared.bus import index
from shared.bus.leading import StepDownError
from shared.bus.trimming import AUDIT, CORE_GROUPS, forget_measures, trim
from shared.events.base import Priority
from shared.events.models import ModelDemand, ModelDemandChanged, NodeLost
from shared.telemetry import (
    IN_FLIGHT,
    NODES_ALIVE,
    STORE_MEMORY,
    WAITING,
    WAITING_LIMIT,
)

log = structlog.get_logger()

TICK_S = 0.1
STRAYS_S = 1.0
DEMAND_S = 0.2
DEMAND_REPEATED_S = 2.0
FLIGHT_S = 0.5
NODES_S = 0.5
HOPELESS_S = 0.5
MEMORY_S = 1.0
TRIM_S = 5.0


class Watch:
    """The loops of one term."""

    def __init__(self, term: Term) -> None:
        self._term = term
        self._trail = TrailWatch(term)
        self._told: tuple[ModelDemand, ...] | None = None
        self._told_s = 0.0
        self._unknown: frozenset[str] = frozenset()
        self._looked_s = monotonic()

    def loops(self) -> tuple[Callable[[], Coroutine[Any, Any, None]], ...]:
        return (
            lambda: _every(TICK_S, self._deadlines),
            lambda: _every(DEMAND_S, self._demand),
            lambda: _every(FLIGHT_S, lambda: settling.inspect_flight(self._term)),
            lambda: _every(NODES_S, self._nodes),
            lambda: _every(MEMORY_S, self._memory),
            lambda: _every(TRIM_S, self._trim),
        )

    async def give_up(self) -> None:
        """End what no node will ever answer. Runs once the nodes were met: one that has not been
        heard yet may offer what another cannot."""
        await _every(HOPELESS_S, self._hopeless)

    async def _hopeless(self) -> None:
        term = self._term
        term.forget_refusals()
        ended = term.backlog.give_up(term.clock.now_ms())
        await asyncio.gather(*[settling.end_hopeless(term, each) for each in ended])
        term.pump()

    async def _deadlines(self) -> None:
        """End what is overdue, or too late to begin; dispatch what was held back until now."""
        term = self._term
        now_ms = term.clock.now_ms()
        overdue, late = term.backlog.expired(now_ms), term.backlog.late(now_ms)
        await asyncio.gather(
            *[settling.end_overdue(term, each, None) for each in overdue],
            *[settling.end_late(term, each) for each in late],
        )
        term.pump()
        if monotonic() - self._looked_s > STRAYS_S:
            await self._strays()

    async def _strays(self) -> None:
        """The oldest that waits is in memory, or on its way: else memory has lost some."""
        term = self._term
        self._looked_s = monotonic()
        writer, keys = term.bus.writer, term.bus.keys
        oldest = [await index.oldest(writer, keys, priority) for priority in Priority]
        unknown = frozenset(each for each in oldest if each and term.lacks(each))
        if forgotten := unknown & self._unknown:
            raise StepDownError(f"{', '.join(forgotten)} waits, and this leader does not know it")
        self._unknown = unknown

    async def _demand(self) -> None:
        """Tell what waits, when it changed and now and then: the last telling is all one needs."""
        term = self._term
        now_ms = term.clock.now_ms()
        demands = tuple(
            ModelDemand(
                model=model,
                waiting={each: count for each, count in demand.waiting.items() if count},
                oldest_wait_s=round(max(0, now_ms - (demand.oldest_ms or now_ms)) / 1000),
            )
            for model, demand in sorted(term.backlog.demand(now_ms).items())
        )
        if demands == self._told and monotonic() - self._told_s < DEMAND_REPEATED_S:
            return
        self._told, self._told_s = demands, monotonic()
        await term.bus.publish(ModelDemandChanged(router=term.token, demands=demands))

    async def _nodes(self) -> None:
        """Whoever was not heard for too long is lost; its attempts are settled with the flight."""
        term = self._term
        for name, heard_s in list(term.heard_s.items()):
            silent_s = monotonic() - heard_s
            if silent_s > term.bus.config.timing.node_lost_s and term.fleet.nodes[name].alive:
                log.warning("node_lost", node=name, silent_s=round(silent_s, 1))
                term.fleet.lose(name)
                lost = NodeLost(node=name, silent_ms=int(silent_s * 1000))
                await term.bus.publish(lost, ordinal=f"{term.token}/{heard_s}")

    async def _memory(self) -> None:
        memory = await term_memory(self._term)
        self._term.memory_fraction = memory
        STORE_MEMORY.set(memory)
        for priority, length in self._term.backlog.lengths.items():
            WAITING.labels(priority).set(length)
        for priority, limits in self._term.bus.config.priorities.items():
            WAITING_LIMIT.labels(priority).set(limits.backlog)
        IN_FLIGHT.set(len(self._term.flying))
        NODES_ALIVE.set(sum(node.alive for node in self._term.fleet.nodes.values()))

    async def _trim(self) -> None:
        bus = self._term.bus
        core = CORE_GROUPS - {AUDIT} if bus.config.audit.mode == "off" else CORE_GROUPS
        nodes, producers = self._term.fleet.nodes, bus.config.producers
        await trim(bus.client, bus.keys, nodes, core, producers)
        await self._trail.look()


def forget() -> None:
    """What only a leader measures is nobody's word once its term is over."""
    forget_measures()
    for gauge in (WAITING, WAITING_LIMIT):
        gauge.clear()
    for gauge in (STORE_MEMORY, IN_FLIGHT, NODES_ALIVE):
        gauge.set(0)


async def term_memory(term: Term) -> float:
    """Share of the store's memory that is in use; 0 where it has no bound."""
    info = await term.bus.client.info("memory")
    bound = int(info["maxmemory"])
    return int(info["used_memory"]) / bound if bound else 0.0


async def _every(pause_s: float, step: Callable[[], Coroutine[Any, Any, None]]) -> None:
    while True:
        await step()
        await asyncio.sleep(pause_s)
