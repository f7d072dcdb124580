"""An overload in simulated time: what becomes of the slots' time."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import log

import pytest

from services.router.policy.assignment import Assignment
from services.router.policy.backlog import Backlog
from services.router.policy.flight import Slot
from services.router.policy.request import Waiting
from shared.config.models import Config
from shared.events.base import Priority
from tests.fakes.world import fleet_of, node, resident, waiting

NODES = 4
SERVICE_MS = 500
TIMES = 10
SHARES = {Priority.CRITICAL: 4, Priority.HIGH: 16, Priority.NORMAL: 50, Priority.LOW: 30}
CRITICAL_MS, OTHERS_MS = 10_000, 30_000
TICK_MS = 100

Took = Callable[[int], float]
"""How long a request takes that begins at a time, both in milliseconds."""


@dataclass(order=True)
class Attempt:
    until_ms: int
    began_ms: int
    ends_ms: int
    """When it would be answered, whether or not that is in time."""
    assignment: Assignment = field(compare=False)


@dataclass
class Overload:
    """Requests come evenly, ten for each that can be served; an attempt stops at its deadline."""

    took_ms: Took
    shares: dict[Priority, int] = field(default_factory=lambda: SHARES)
    choice: random.Random = field(default_factory=lambda: random.Random(1))
    asked: list[Waiting] = field(default_factory=list)
    answered: dict[str, int] = field(default_factory=dict)
    """By request, when."""
    running: list[Attempt] = field(default_factory=list)

    def __post_init__(self) -> None:
        nodes = (node(f"n{number}", ready=[resident("m", slots=1)]) for number in range(NODES))
        self.fleet = fleet_of(*nodes)
        self.backlog = Backlog(self.fleet, Config())

    def run(self, end_ms: int) -> "Overload":
        every_ms = SERVICE_MS / NODES / TIMES
        for now_ms in range(end_ms):
            while len(self.asked) * every_ms <= now_ms:
                self._ask(now_ms)
            while self.running and self.running[0].until_ms <= now_ms:
                self._end(heappop(self.running))
            if now_ms % TICK_MS == 0:
                self.backlog.expired(now_ms)
                self.backlog.late(now_ms)
            while assignment := self.backlog.next_assignment(now_ms):
                self._begin(now_ms, assignment)
        return self

    def share(self, from_ms: int, to_ms: int, service_ms: float = SERVICE_MS) -> float:
        """Of what could have been answered in this time, what was."""
        count = sum(from_ms <= at_ms < to_ms for at_ms in self.answered.values())
        return count * service_ms / NODES / (to_ms - from_ms)

    def critical_before(self, asked_ms: int) -> set[str]:
        urgent = (each for each in self.asked if each.priority is Priority.CRITICAL)
        return {each.id for each in urgent if each.admitted_ms < asked_ms}

    def _ask(self, now_ms: int) -> None:
        [priority] = self.choice.choices((*self.shares,), (*self.shares.values(),))
        patience_ms = CRITICAL_MS if priority is Priority.CRITICAL else OTHERS_MS
        until = {"admitted_ms": now_ms, "deadline_ms": now_ms + patience_ms}
        self.asked.append(waiting(f"r{len(self.asked)}", "m", priority=priority, **until))
        self.backlog.add(self.asked[-1])

    def _begin(self, now_ms: int, assignment: Assignment) -> None:
        deadline_ms = assignment.waiting.deadline_ms
        ends_ms = now_ms + round(self.took_ms(now_ms))
        heappush(self.running, Attempt(min(ends_ms, deadline_ms), now_ms, ends_ms, assignment))

    def _end(self, attempt: Attempt) -> None:
        waiting, durations = attempt.assignment.waiting, self.fleet.durations
        slot, now_ms = Slot(attempt.assignment.node, attempt.assignment.model), attempt.until_ms
        self.fleet.end(waiting.id)
        if attempt.ends_ms == now_ms:
            self.answered[waiting.id] = now_ms
            durations.completed(slot, waiting.size, now_ms - attempt.began_ms, now_ms)
        else:
            durations.outlasted(slot, waiting.size, now_ms - attempt.began_ms, now_ms)


@pytest.mark.parametrize("spread", [0.0, 0.1, 0.3, 0.8])
def test_nine_tenths_of_a_flooded_cells_time_go_into_answers_all_critical_ones_among_them(
    spread: float,
) -> None:
    """With durations that are all the same, and such as some take ten times as long as others."""
    jitter = random.Random(2)
    middle = log(SERVICE_MS) - spread**2 / 2
    overload = Overload(lambda _: jitter.lognormvariate(middle, spread)).run(120_000)

    assert overload.share(40_000, 120_000) > 0.9
    assert overload.critical_before(110_000) <= overload.answered.keys()


@pytest.mark.parametrize("shares", [SHARES, {Priority.NORMAL: 1}], ids=["all classes", "one"])
def test_an_engine_that_becomes_slower_or_faster_in_a_flood_is_soon_as_useful_as_can_be(
    shares: dict[Priority, int],
) -> None:
    def took_ms(now_ms: int) -> float:
        return SERVICE_MS * 2 if 60_000 <= now_ms < 120_000 else SERVICE_MS

    overload = Overload(took_ms, shares).run(160_000)

    assert overload.share(50_000, 60_000) > 0.9
    assert overload.share(75_000, 120_000, SERVICE_MS * 2) > 0.9
    assert overload.share(125_000, 160_000) > 0.9
