"""When no more is let in, and when it is worth asking again."""

import pytest

from services.router.policy.admission import MEMORY_RETRY_S, Admitted, Load, admit
from services.router.policy.refusal import Refused
from services.router.policy.request import RequestAttributes
from shared.config.models import Config
from shared.events.base import Priority
from shared.events.inference import FailureReason
from tests.fakes.world import fleet_of, node

FLEET = fleet_of(node("a", ready=["qwen"]))


def ask(load: Load, priority: Priority | None = None) -> Admitted | Refused:
    return admit(RequestAttributes(priority=priority), Config(), FLEET, load)


def refused(load: Load, priority: Priority | None = None) -> Refused:
    answer = ask(load, priority)
    assert isinstance(answer, Refused)
    return answer


def full(**waiting: int) -> dict[Priority, int]:
    return {priority: waiting.get(priority.lower(), 0) for priority in Priority}


def test_a_full_class_is_refused_and_the_others_are_not() -> None:
    load = Load(full(normal=100_000), None, 0.1)

    answer = refused(load)

    assert answer.reason is FailureReason.SATURATED
    assert "100000 requests of priority NORMAL" in answer.message
    assert isinstance(ask(load, Priority.LOW), Admitted)


def test_a_class_that_has_one_place_left_takes_one_more() -> None:
    assert isinstance(ask(Load(full(normal=99_999), None, 0.1)), Admitted)


@pytest.mark.parametrize(
    ("memory_fraction", "lets_in"), [(0.79, True), (0.8, False), (0.95, False)]
)
def test_a_full_store_lets_nobody_in(memory_fraction: float, lets_in: bool) -> None:
    answer = ask(Load(full(), None, memory_fraction), Priority.CRITICAL)

    assert isinstance(answer, Admitted) is lets_in


def test_retry_after_is_the_time_for_what_is_ahead_at_the_rate_of_its_classes() -> None:
    waiting = full(critical=10, high=10_000, normal=500, low=10**6)
    rates = {
        Priority.CRITICAL: 1.0,
        Priority.HIGH: 99.0,
        Priority.NORMAL: 7.0,
        Priority.LOW: 9.0,
    }

    answer = refused(Load(waiting, rates, 0.1), Priority.HIGH)

    assert answer.retry_after_s == 10_010 / 100
    assert "try again in 100 s" in answer.message


def test_retry_after_is_one_window_while_nothing_is_measured() -> None:
    assert refused(Load(full(), None, 0.9)).retry_after_s == 60.0


def test_a_trail_that_may_miss_nothing_lets_nobody_in_while_it_is_behind() -> None:
    answer = refused(Load(full(), None, 0.1, audit_overdue=True), Priority.CRITICAL)

    assert answer.reason is FailureReason.SATURATED
    assert "audit" in answer.message
    assert answer.retry_after_s is not None
    assert answer.retry_after_s >= MEMORY_RETRY_S
