"""On which node a model is loaded."""

import pytest

from services.model_manager.placement import Placement, place
from services.model_manager.view import Held, NodeView, Offer, Wanted
from shared.events.models import ModelState
from tests.fakes.stalls import held, node, offer, room

NOW_S = 1_000.0


def placed(*nodes: NodeView, want: Wanted | None = None) -> Placement | None:
    return place(want or Wanted("m", 1.0), nodes, {"m"}, NOW_S)


def box(name: str, room_mib: int, *holds: Held, offered: Offer | None = None) -> NodeView:
    return node(room(room_mib), [offered or offer("m", 6_000)], holds, name)


def test_a_node_with_room_comes_before_one_that_must_evict() -> None:
    full = box("full", 8_000, held("idle", 8_000))

    assert placed(full, box("roomy", 8_000)) == Placement("roomy")


def test_of_nodes_with_room_the_quickest_to_load_is_taken() -> None:
    slow = box("slow", 8_000, offered=offer("m", 6_000, load_s=9.0))
    quick = box("quick", 8_000, offered=offer("m", 6_000, load_s=2.0))

    assert placed(slow, quick) == Placement("quick")


def test_of_equally_quick_nodes_the_roomiest_is_taken() -> None:
    assert placed(box("tight", 7_000), box("wide", 20_000)) == Placement("wide")


def test_room_that_is_being_made_is_waited_for() -> None:
    leaving = box("leaving", 8_000, held("old", 8_000, state=ModelState.UNLOADING))
    full = box("full", 8_000, held("idle", 8_000))

    assert placed(full, leaving) == Placement("leaving", waits=True)


def test_the_cheapest_eviction_is_taken() -> None:
    used = box("used", 8_000, held("recent", 8_000, idle_since_s=NOW_S - 40))
    unused = box("unused", 8_000, held("stale", 8_000, idle_since_s=0))

    assert placed(used, unused) == Placement("unused", evict=("stale",))


@pytest.mark.parametrize(
    "unable",
    [
        pytest.param(node(room(8_000)), id="does not offer it"),
        pytest.param(box("box", 5_999), id="is too small"),
        pytest.param(box("box", 8_000, held("m", 1)), id="holds it"),
        pytest.param(
            box("box", 9_000, held("x", 1_000, state=ModelState.LOADING)), id="is loading another"
        ),
        pytest.param(
            box("box", 8_000, offered=offer("m", 6_000, not_before_s=NOW_S + 1)),
            id="failed to load it a moment ago",
        ),
        pytest.param(box("box", 8_000, held("x", 4_000, in_flight=1)), id="serves another"),
    ],
)
def test_a_node_that_cannot_take_it_is_passed_over(unable: NodeView) -> None:
    assert placed(unable) is None


def test_a_wish_for_a_certain_node_is_placed_there_or_nowhere() -> None:
    roomy = box("roomy", 8_000)

    assert placed(roomy, want=Wanted("m", asked=True, node="other")) is None
    assert placed(roomy, want=Wanted("m", asked=True, node="roomy")) == Placement("roomy")


def test_a_node_where_a_load_failed_comes_after_all_others_and_before_none() -> None:
    broken = box("broken", 8_000, offered=offer("m", 6_000, problem="no such file"))
    full = box("full", 8_000, held("idle", 8_000))

    assert placed(broken, full) == Placement("full", evict=("idle",))
    assert placed(broken) == Placement("broken")
