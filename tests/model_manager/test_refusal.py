"""Which models nobody need wait for."""

from typing import Any

import pytest

from services.model_manager.refusal import MOST_FAILURES, Refusal, refusals
from services.model_manager.view import Held, NodeView
from shared.events.models import ModelState
from tests.fakes.stalls import held, node, offer, room, view

NOW_S = 1_000.0
ROOM_MIB = 8_000


def box(need_mib: int = 6_000, *holds: Held, name: str = "box", **facts: Any) -> NodeView:
    return node(room(ROOM_MIB), [offer("m", need_mib, **facts)], holds, name)


def failed(times: int, *, pause_s: float = 20.0, problem: str = "no such file") -> dict[str, Any]:
    return {"failures": times, "not_before_s": NOW_S + pause_s, "problem": problem}


def refused(*nodes: NodeView) -> Refusal | None:
    found = refusals(view(*nodes), NOW_S)
    return found[0] if found else None


def test_a_model_that_fits_is_not_refused_however_full_its_node_is() -> None:
    assert refused(box(ROOM_MIB, held("other", ROOM_MIB))) is None


def test_a_model_that_is_larger_than_what_any_node_has_is_refused() -> None:
    small, large = box(ROOM_MIB + 1, name="small"), box(ROOM_MIB + 1, name="large")

    why = f"it needs {ROOM_MIB + 1} MiB, and there are {ROOM_MIB} MiB for models"
    assert refused(small, large) == Refusal("m", f"small: {why}; large: {why}", None)
    assert refused(small, box(ROOM_MIB, name="larger")) is None


def test_what_is_pinned_is_never_made_room_of() -> None:
    pinned = held("p", 3_000, pinned=True)

    assert refused(box(5_000, pinned)) is None
    refusal = refused(box(5_001, pinned))
    assert refusal is not None
    assert refusal.why.endswith("8000 MiB for models, 3000 of them pinned")


def test_a_node_of_which_nothing_is_known_may_be_large_enough() -> None:
    unheard = NodeView("box", room(), {"m": offer("m", 10**6)}, {})

    assert refused(unheard) is None


@pytest.mark.parametrize(
    ("facts", "is_refused"),
    [
        pytest.param(failed(MOST_FAILURES), True, id="often"),
        pytest.param(failed(MOST_FAILURES - 1), False, id="may be chance"),
        pytest.param(failed(MOST_FAILURES, pause_s=0.0), False, id="the pause is over"),
    ],
)
def test_a_model_whose_loads_keep_failing_is_refused_between_them(
    facts: dict[str, Any], is_refused: bool
) -> None:
    assert (refused(box(**facts)) is not None) is is_refused


def test_a_refusal_names_the_cause_and_when_it_is_tried_again() -> None:
    left = box(name="left", **failed(3, pause_s=20.0))
    right = box(name="right", **failed(5, pause_s=80.0, problem=""))

    assert refused(left, right) == Refusal(
        "m",
        "left: 3 loads failed, the last one so: no such file; "
        "right: 5 loads failed, the last one so: unexplained",
        20.0,
    )


def test_a_node_that_may_still_load_it_is_waited_for() -> None:
    assert refused(box(**failed(9)), box(name="other")) is None


@pytest.mark.parametrize("state", [ModelState.READY, ModelState.LOADING, ModelState.STUCK])
def test_what_a_node_holds_is_not_refused(state: ModelState) -> None:
    assert refused(box(6_000, held("m", 6_000, state=state), **failed(9))) is None
