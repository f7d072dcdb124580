"""What is loaded and unloaded, given what is wanted and held."""

import pytest

from services.model_manager.residency import Load, Unload, decide
from services.model_manager.view import Wanted
from shared.events.models import ModelState
from tests.fakes.stalls import held, node, offer, room, view

NOW_S = 1_000.0


def test_nothing_is_done_where_nothing_is_wanted() -> None:
    box = node(room(9_000), [offer("a", 4_000), offer("b", 4_000)], [held("a", 4_000)])

    assert decide(view(box), NOW_S) == ()


def test_a_model_that_is_waited_for_is_loaded() -> None:
    box = node(room(9_000), [offer("a", 4_000)])

    assert decide(view(box, wanted=["a"]), NOW_S) == (Load("box", "a", "demand"),)


@pytest.mark.parametrize("state", [ModelState.LOADING, ModelState.READY])
def test_a_model_that_some_node_has_is_not_loaded_again(state: ModelState) -> None:
    has_it = node(room(9_000), [offer("a", 4_000)], [held("a", 4_000, state=state)], "one")
    empty = node(room(9_000), [offer("a", 4_000)], name="two")

    assert decide(view(has_it, empty, wanted=["a"]), NOW_S) == ()


def test_a_model_on_its_way_out_is_loaded_elsewhere() -> None:
    leaves = held("a", 4_000, state=ModelState.DRAINING)
    leaving = node(room(9_000), [offer("a", 4_000)], [leaves], "one")
    empty = node(room(9_000), [offer("a", 4_000)], name="two")

    assert decide(view(leaving, wanted=["a"]), NOW_S) == ()
    assert decide(view(leaving, empty, wanted=["a"]), NOW_S) == (Load("two", "a", "demand"),)


def test_the_most_backlog_per_second_of_load_time_is_loaded_first() -> None:
    offers = [offer("slow", 4_000, load_s=20.0), offer("quick", 4_000, load_s=2.0)]
    wanted = [Wanted("slow", 30.0), Wanted("quick", 10.0)]

    (load,) = decide(view(node(room(9_000), offers), wanted=wanted), NOW_S)

    assert load == Load("box", "quick", "demand")


def test_what_an_operator_asked_for_comes_first() -> None:
    offers = [offer("a", 4_000), offer("b", 4_000)]
    wanted = [Wanted("a", 1e6), Wanted("b", asked=True)]

    (load,) = decide(view(node(room(9_000), offers), wanted=wanted), NOW_S)

    assert load == Load("box", "b", "asked")


def test_each_node_loads_one_model_at_a_time() -> None:
    offers = [offer("a", 1_000), offer("b", 1_000), offer("c", 1_000)]
    one, two = node(room(9_000), offers, name="one"), node(room(9_000), offers, name="two")

    commands = decide(view(one, two, wanted=["a", "b", "c"]), NOW_S)

    assert sorted(command.node for command in commands) == ["one", "two"]
    assert len({command.model for command in commands}) == 2


def test_room_is_made_first_and_the_load_comes_later() -> None:
    offers = [offer("a", 6_000), offer("b", 6_000)]
    full = node(room(9_000), offers, [held("a", 6_000)])

    assert decide(view(full, wanted=["b"]), NOW_S) == (Unload("box", "a", "room for b"),)

    leaving = node(room(9_000), offers, [held("a", 6_000, state=ModelState.DRAINING)])
    assert decide(view(leaving, wanted=["b"]), NOW_S) == ()

    empty = node(room(9_000), offers)
    assert decide(view(empty, wanted=["b"]), NOW_S) == (Load("box", "b", "demand"),)


def test_room_that_is_made_for_one_model_is_not_taken_by_another() -> None:
    offers = [offer("big", 8_000), offer("small", 1_000), offer("old", 7_000)]
    leaves = held("old", 7_000, state=ModelState.UNLOADING)
    making_room = node(room(9_000), offers, [leaves])
    wanted = [Wanted("big", 100.0), Wanted("small", 1.0)]

    assert decide(view(making_room, wanted=wanted), NOW_S) == ()


def test_a_model_that_finds_no_place_does_not_hold_up_the_next() -> None:
    offers = [offer("huge", 90_000), offer("small", 1_000)]
    wanted = [Wanted("huge", 100.0), Wanted("small", 1.0)]

    commands = decide(view(node(room(9_000), offers), wanted=wanted), NOW_S)

    assert commands == (Load("box", "small", "demand"),)


def test_a_model_that_was_idle_too_long_is_unloaded() -> None:
    idle = held("a", 1_000, idle_since_s=NOW_S - 300, idle_unload_s=300.0)

    assert decide(view(node(room(9_000), holds=[idle])), NOW_S) == (
        Unload("box", "a", "idle for 300 s"),
    )
    assert decide(view(node(room(9_000), holds=[idle])), NOW_S - 1) == ()


@pytest.mark.parametrize(
    "kept",
    [
        pytest.param({"in_flight": 1}, id="serving"),
        pytest.param({"pinned": True}, id="pinned"),
        pytest.param({"state": ModelState.DRAINING}, id="on its way out"),
        pytest.param({"state": ModelState.STUCK}, id="stuck"),
    ],
)
def test_an_idle_model_that_must_stay_is_left_alone(kept: dict[str, object]) -> None:
    facts = {"idle_since_s": 0.0, "idle_unload_s": 1.0, **kept}

    assert decide(view(node(room(9_000), holds=[held("a", 1_000, **facts)])), NOW_S) == ()


def test_an_idle_model_that_is_waited_for_is_left_alone() -> None:
    idle = held("a", 1_000, idle_since_s=0.0, idle_unload_s=1.0)

    assert decide(view(node(room(9_000), holds=[idle]), wanted=["a"]), NOW_S) == ()


def test_a_model_that_is_both_idle_and_in_the_way_is_unloaded_once() -> None:
    idle = held("a", 6_000, idle_since_s=0.0, idle_unload_s=1.0)
    full = node(room(9_000), [offer("b", 6_000)], [idle])

    assert decide(view(full, wanted=["b"]), NOW_S) == (Unload("box", "a", "room for b"),)
