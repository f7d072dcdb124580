"""One beat for all: whenever somebody begins to wait, all wait for the same moments."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as some

from services.inference_worker.ticks import SOON_S, TICK_S, next_flush_in_s, next_tick_in_s

times = some.floats(0, 1e6)


@given(times)
def test_nobody_waits_for_longer_than_a_tick(now_s: float) -> None:
    assert 0 < next_tick_in_s(now_s) <= TICK_S
    assert 0 < next_flush_in_s(now_s) <= TICK_S


@given(times, some.floats(0, TICK_S / 2))
def test_who_begins_to_wait_in_between_waits_for_the_same_tick(
    now_s: float, later_s: float
) -> None:
    ends_s = now_s + next_tick_in_s(now_s)
    other_s = now_s + later_s
    if other_s < ends_s - 1e-6:
        assert other_s + next_tick_in_s(other_s) == pytest.approx(ends_s, abs=1e-6)


def test_what_a_tick_brought_is_sent_on_soon_after_it() -> None:
    ticks = [1000.0 + next_tick_in_s(1000.0)]
    for _ in range(5):
        ticks.append(ticks[-1] + 1e-6 + next_tick_in_s(ticks[-1] + 1e-6))

    assert all(
        after - before == pytest.approx(TICK_S, abs=1e-4) for before, after in pairwise(ticks)
    )
    assert all(next_flush_in_s(at) == pytest.approx(SOON_S, abs=1e-4) for at in ticks)
