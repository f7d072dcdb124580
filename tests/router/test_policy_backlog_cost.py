"""What an assignment costs does not grow with the backlog. Counted, not timed."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from services.router.policy.backlog import Backlog
from services.router.policy.timeline import Entry, Timeline
from shared.config.models import Config
from shared.events.base import Priority
from tests.fakes.world import fleet_of, node, resident, waiting

MODELS = [f"m{number}" for number in range(10)]
NOW_MS = 10**7


class Moment(int):
    """A point in time that counts how often it is compared."""

    comparisons = 0

    def __add__(self, other: int) -> "Moment":
        return Moment(int(self) + other)

    def __lt__(self, other: int) -> bool:
        Moment.comparisons += 1
        return int(self) < int(other)

    def __eq__(self, other: object) -> bool:
        Moment.comparisons += 1
        return isinstance(other, int) and int(self) == int(other)

    __hash__ = int.__hash__


def lines_run(work: Callable[[], object]) -> int:
    """Lines of Python that `work` runs."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def cost(size: int, assignments: int = 200) -> tuple[float, float]:
    """Lines and comparisons for each of some assignments, each followed by a free slot."""
    fleet = fleet_of(
        *(node(name, ready=[resident(model, slots=1) for model in MODELS]) for name in "abcd")
    )
    backlog = Backlog(fleet, Config())
    classes = list(Priority)
    for number in range(size):
        chain = MODELS[number % 10 :] + MODELS[: number % 10]
        backlog.add(
            waiting(
                f"r{number}",
                *chain,
                priority=classes[number % 4],
                tenant=f"t{number % 3}",
                admitted_ms=Moment(number * 7919 % size),
                deadline_ms=NOW_MS + number,
            )
        )
    running = []
    while (assignment := backlog.next_assignment(NOW_MS - 1)) is not None:
        running.append(assignment.waiting.id)

    def serve() -> None:
        for _ in range(assignments):
            fleet.end(running.pop(0))
            assignment = backlog.next_assignment(NOW_MS - 1)
            assert assignment is not None
            running.append(assignment.waiting.id)

    Moment.comparisons = 0
    lines = lines_run(serve)
    return lines / assignments, Moment.comparisons / assignments


@pytest.mark.timeout(60)
def test_an_assignment_costs_the_same_with_a_hundred_times_more_waiting() -> None:
    few_lines, few_comparisons = cost(1_000)
    many_lines, many_comparisons = cost(100_000)

    assert many_lines <= 1.2 * few_lines
    assert many_comparisons <= few_comparisons + 2 * 2 * 7  # two heaps, 7 levels deeper
    assert many_lines < 600


def departures(size: int) -> float:
    """Comparisons for each of `size` entries that leave from anywhere, tombstones included."""
    timeline = Timeline()
    entries = [
        Entry(waiting(f"r{number}", admitted_ms=Moment(number * 7919 % size)), number)
        for number in range(size)
    ]
    for entry in entries:
        timeline.push(entry.waiting.admitted_ms, entry)
    Moment.comparisons = 0
    for number in range(size):
        entry = entries[number * 6007 % size]
        entry.alive = False
        timeline.buried()
        timeline.head()
    assert len(timeline) == 0
    return Moment.comparisons / size


def test_those_who_leave_early_cost_no_more_with_a_hundred_times_more_waiting() -> None:
    assert departures(100_000) <= departures(1_000) + 2 * 7


def test_nothing_is_looked_at_while_no_slot_is_free() -> None:
    fleet = fleet_of(node("a", ready=[resident("m0", slots=1)]))
    fleet.start("running", "a", "m0")
    backlog = Backlog(fleet, Config())
    for number in range(1000):
        backlog.add(waiting(f"r{number}", "m0", tenant=f"t{number}"))

    assert lines_run(lambda: backlog.next_assignment(1)) < 30
