"""Which models leave so that another fits."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model_manager.eviction import victims
from services.model_manager.view import Held
from shared.events.models import ModelState
from tests.fakes.stalls import held, law, node, room

NOW_S = 1_000.0


def evicted(need_mib: int, *holds: Held, wanted: tuple[str, ...] = ()) -> tuple[str, ...] | None:
    """From a card of 10 000 MiB that holds these."""
    return victims(node(room(10_000), holds=holds), need_mib, wanted, NOW_S)


def test_nothing_leaves_where_nothing_would_suffice() -> None:
    assert evicted(10_001, held("a", 5_000)) is None


@pytest.mark.parametrize(
    "kept",
    [
        pytest.param({"in_flight": 1}, id="serving"),
        pytest.param({"pinned": True}, id="pinned"),
        pytest.param({"state": ModelState.LOADING}, id="loading"),
        pytest.param({"state": ModelState.STUCK}, id="stuck"),
        pytest.param({"ready_since_s": NOW_S - 14.9}, id="loaded a moment ago"),
    ],
)
def test_a_model_that_must_stay_does_not_leave(kept: dict[str, object]) -> None:
    assert evicted(8_000, held("a", 5_000, **kept)) is None


def test_a_model_that_is_waited_for_does_not_leave() -> None:
    assert evicted(8_000, held("a", 5_000), wanted=("a",)) is None


def test_a_model_may_leave_after_three_times_its_load() -> None:
    assert evicted(8_000, held("a", 5_000, ready_since_s=NOW_S - 15.0)) == ("a",)


def test_the_longest_idle_leaves_where_reloading_costs_the_same() -> None:
    recent = held("recent", 4_000, idle_since_s=NOW_S - 10)
    stale = held("stale", 4_000, idle_since_s=NOW_S - 500)

    assert evicted(5_000, recent, stale) == ("stale",)


def test_the_cheapest_to_reload_per_mib_leaves_where_both_are_as_idle() -> None:
    quick = held("quick", 4_000, idle_since_s=0, load_s=2.0)
    slow = held("slow", 4_000, idle_since_s=0, load_s=20.0)

    assert evicted(5_000, slow, quick) == ("quick",)


def test_no_more_leave_than_must() -> None:
    small = held("small", 1_000, idle_since_s=0, load_s=0.1)
    large = held("large", 8_000, idle_since_s=0, load_s=5.0)

    assert evicted(8_500, small, large) == ("large",)


def test_what_is_leaving_already_counts_as_gone() -> None:
    leaving = held("leaving", 4_000, state=ModelState.DRAINING)
    idle = held("idle", 4_000)

    assert evicted(8_000, leaving, idle) == ("idle",)


holds = st.lists(
    st.builds(
        lambda mib, in_flight, pinned, idle_s, load_s, state: held(
            "?",
            mib,
            in_flight=in_flight,
            pinned=pinned,
            idle_since_s=NOW_S - idle_s,
            load_s=load_s,
            state=state,
        ),
        st.integers(0, 4_000),
        st.integers(0, 1),
        st.booleans(),
        st.floats(0, 900),
        st.floats(0.1, 60),
        st.sampled_from(ModelState),
    ),
    max_size=6,
)


@law
@given(holds, st.integers(0, 12_000))
def test_the_victims_suffice_none_is_needless_and_none_is_serving(
    drawn: list[Held], need_mib: int
) -> None:
    named = [replace(each, model=f"m{index}") for index, each in enumerate(drawn)]
    box = node(room(10_000), holds=named)

    chosen = victims(box, need_mib, (), NOW_S)

    for model in chosen or ():
        assert box.held[model].in_flight == 0
        assert not box.held[model].pinned
        fewer = {*(chosen or ())} - {model}
        assert box.ledger.fit(need_mib, without=box.leaving | fewer) is None
    if chosen is not None:
        assert box.ledger.fit(need_mib, without=box.leaving.union(chosen)) is not None
