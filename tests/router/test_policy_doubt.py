"""Whoever would probably end after its deadline lets the others of its class go first."""

import pytest

from services.router.policy.durations import SEEN
from services.router.policy.flight import Slot
from services.router.policy.request import Waiting
from services.router.policy.view import Fleet
from shared.events.base import Priority
from tests.fakes.world import SIZE, fleet_of, node, resident
from tests.router.backlogs import BOUND_MS, NOW_MS, backlog_of, drain, just, learn, one_slot


def hurried(request: str, priority: Priority = Priority.NORMAL, **facts: int) -> Waiting:
    """One that has 600 ms left of 30 s."""
    times = {"admitted_ms": NOW_MS - 29_400, "deadline_ms": NOW_MS + 600}
    return just(request, priority=priority, **(times | facts))


def uneven(fleet: Fleet, model: str = "qwen") -> None:
    """Three of twenty take more than 600 ms."""
    for took_ms in (500,) * (SEEN - 3) + (700,) * 3:
        fleet.durations.completed(Slot("a", model), SIZE, took_ms, NOW_MS)


def test_who_would_probably_end_too_late_goes_after_the_others_of_its_class() -> None:
    fleet = one_slot("qwen")
    uneven(fleet)
    backlog = backlog_of(
        fleet,
        hurried("hurried"),
        just("sure"),
        hurried("urgent", Priority.CRITICAL),
        just("low", priority=Priority.LOW),
    )

    assert drain(backlog, fleet) == ["urgent", "sure", "hurried", "low"]


def test_a_turn_that_goes_by_age_goes_to_who_will_probably_end_in_time() -> None:
    fleet = one_slot("qwen")
    uneven(fleet)
    backlog = backlog_of(
        fleet,
        hurried("hurried"),
        just("old", priority=Priority.LOW, admitted_ms=NOW_MS - BOUND_MS[Priority.LOW]),
        *(just(f"new-{number}", priority=Priority.HIGH) for number in range(4)),
    )

    assert drain(backlog, fleet)[3] == "old"


def test_it_goes_at_once_where_nobody_else_of_its_class_waits() -> None:
    fleet = one_slot("qwen")
    uneven(fleet)

    assert drain(backlog_of(fleet, hurried("hurried")), fleet) == ["hurried"]


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param({"deadline_ms": NOW_MS + 700}, id="has enough time left"),
        pytest.param({"admitted_ms": NOW_MS - 599}, id="waited for less than half of its time"),
    ],
)
def test_it_keeps_its_place_while_it(facts: dict[str, int]) -> None:
    fleet = one_slot("qwen")
    uneven(fleet)
    backlog = backlog_of(fleet, hurried("hurried", **facts), just("sure"))

    assert drain(backlog, fleet) == ["hurried", "sure"]


def test_it_keeps_its_place_where_nobody_knows_how_long_it_takes() -> None:
    fleet = one_slot("qwen")
    backlog = backlog_of(fleet, hurried("hurried"), just("sure"))

    assert drain(backlog, fleet) == ["hurried", "sure"]


def test_a_node_that_is_fast_enough_for_it_leaves_no_doubt() -> None:
    fleet = fleet_of(*(node(name, ready=[resident("qwen", slots=1)]) for name in ("a", "b")))
    uneven(fleet)
    learn(fleet, "b", "qwen", 500)
    backlog = backlog_of(fleet, hurried("hurried"), just("sure"))

    assert drain(backlog, fleet) == ["hurried", "sure"]
