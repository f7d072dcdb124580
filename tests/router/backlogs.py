"""Backlogs and what is taken from them, with everything defaulted."""

from typing import Any

from services.router.policy.assignment import Assignment
from services.router.policy.backlog import Backlog
from services.router.policy.durations import SEEN
from services.router.policy.flight import Slot
from services.router.policy.request import Size, Waiting
from services.router.policy.view import Fleet
from shared.config.models import Config
from tests.fakes.world import SIZE, fleet_of, node, resident, waiting

CONFIG = Config()
BOUND_MS = {
    priority: int(bounds.wait_bound_s * 1000) for priority, bounds in CONFIG.priorities.items()
}
NOW_MS = 10_000_000


def one_slot(*models: str) -> Fleet:
    """A node with all these models in memory, each with a single slot."""
    return fleet_of(node("a", ready=[resident(model, slots=1) for model in models]))


def backlog_of(fleet: Fleet, *records: Waiting) -> Backlog:
    backlog = Backlog(fleet, CONFIG)
    for record in records:
        backlog.add(record)
    return backlog


def drain(backlog: Backlog, fleet: Fleet, now_ms: int = NOW_MS) -> list[str]:
    """Everything that can run, each attempt ending before the next begins."""
    order = []
    while (assignment := backlog.next_assignment(now_ms)) is not None:
        order.append(assignment.waiting.id)
        fleet.end(assignment.waiting.id)
    return order


def learn(
    fleet: Fleet, place: str, model: str, took_ms: int, size: Size = SIZE, at_ms: int = NOW_MS
) -> None:
    """So many requests took so long there that it is known."""
    for _ in range(SEEN):
        fleet.durations.completed(Slot(place, model), size, took_ms, at_ms)


def just(request: str, *candidates: str, **facts: Any) -> Waiting:
    """One that came a moment ago."""
    return waiting(request, *candidates, **({"admitted_ms": NOW_MS} | facts))


def taken(assignment: Assignment | None) -> tuple[str, str, str]:
    assert assignment is not None
    return assignment.waiting.id, assignment.model, assignment.node
