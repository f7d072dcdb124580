"""Pressure rises at its bounds and falls only well below them."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from services.vram_monitor.pressure import Pressure, pressure

LEVELS: tuple[Pressure, ...] = ("normal", "high", "critical")


def path(*used: int) -> list[Pressure]:
    level: Pressure = "normal"
    levels = []
    for used_mib in used:
        level = pressure(level, used_mib, total_mib=100)
        levels.append(level)
    return levels


def test_it_rises_at_85_and_at_95_percent() -> None:
    assert path(84, 85, 94, 95) == ["normal", "high", "high", "critical"]


def test_it_falls_five_percent_below_the_bound_that_it_rose_at() -> None:
    assert path(96, 91, 89, 81, 79) == ["critical", "critical", "high", "high", "normal"]


def test_a_jump_skips_a_level() -> None:
    assert path(99, 10, 99) == ["critical", "normal", "critical"]


def test_a_device_without_memory_is_under_no_pressure() -> None:
    assert pressure("normal", 0, 0) == "normal"


@settings(deadline=None)
@given(st.sampled_from(LEVELS), st.integers(0, 100), st.integers(0, 100))
def test_more_use_never_means_less_pressure(before: Pressure, one: int, other: int) -> None:
    lower, higher = sorted((one, other))

    assert LEVELS.index(pressure(before, lower, 100)) <= LEVELS.index(pressure(before, higher, 100))


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=2), st.integers(0, 96))
def test_a_ripple_smaller_than_the_hysteresis_changes_it_once_at_most(
    ripple: list[int], base: int
) -> None:
    levels = path(base, *(base + step for step in ripple))

    assert sum(before != after for before, after in pairwise(levels)) <= 1
