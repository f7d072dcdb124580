"""Measured rates, and what a caller is told from them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.policy.throughput import Throughput, retry_after_s
from shared.events.base import Priority
from tests.fakes.world import law

START_MS = 1_000_000


def test_nothing_is_measured_before_the_first_completion() -> None:
    assert Throughput(START_MS).per_second(START_MS + 59_000) is None


def test_a_minute_without_a_completion_is_a_rate_of_zero() -> None:
    rates = Throughput(START_MS).per_second(START_MS + 60_000)

    assert rates == dict.fromkeys(Priority, 0.0)


def test_a_young_measurement_is_over_the_time_observed() -> None:
    throughput = Throughput(START_MS)
    for _ in range(20):
        throughput.completed(Priority.HIGH, START_MS + 5_000)

    rates = throughput.per_second(START_MS + 10_000)

    assert rates is not None
    assert rates[Priority.HIGH] == 2.0
    assert rates[Priority.LOW] == 0.0


def test_what_is_older_than_a_minute_is_forgotten() -> None:
    throughput = Throughput(START_MS)
    for second in range(120):
        throughput.completed(Priority.NORMAL, START_MS + second * 1000)

    at_once = throughput.per_second(START_MS + 119_000)
    later = throughput.per_second(START_MS + 149_000)

    assert at_once is not None
    assert later is not None
    assert at_once[Priority.NORMAL] == 1.0
    assert later[Priority.NORMAL] == 0.5


def test_a_clock_that_steps_back_loses_nothing() -> None:
    throughput = Throughput(START_MS)
    throughput.completed(Priority.LOW, START_MS + 30_000)
    throughput.completed(Priority.LOW, START_MS + 20_000)

    rates = throughput.per_second(START_MS + 40_000)

    assert rates is not None
    assert rates[Priority.LOW] == 2 / 40


@law
@given(
    st.lists(st.tuples(st.sampled_from(Priority), st.integers(0, 200_000)), max_size=200),
    st.integers(0, 60_000),
)
def test_the_rate_is_the_count_of_the_last_minute(
    completions: list[tuple[Priority, int]], later_ms: int
) -> None:
    throughput = Throughput(0)
    ordered = sorted(completions, key=lambda completion: completion[1])
    for priority, at_ms in ordered:
        throughput.completed(priority, at_ms)
    now_ms = max((at_ms for _, at_ms in ordered), default=0) + 60_000 + later_ms

    rates = throughput.per_second(now_ms)

    recent = [one for one, at_ms in ordered if at_ms // 1000 > now_ms // 1000 - 60]
    assert rates == {priority: recent.count(priority) / 60 for priority in Priority}


@pytest.mark.parametrize(
    ("ahead", "per_second", "expected"),
    [
        pytest.param(100, 10.0, 10.0, id="measured"),
        pytest.param(1, 10.0, 1.0, id="at least a second"),
        pytest.param(10**6, 10.0, 300.0, id="at most five minutes"),
        pytest.param(100, 0.0, 300.0, id="nothing moves"),
        pytest.param(100, None, 60.0, id="unmeasured"),
    ],
)
def test_retry_after(ahead: int, per_second: float | None, expected: float) -> None:
    assert retry_after_s(ahead, per_second) == expected
