"""Which candidates a waiting request may go to."""

from collections.abc import Iterable

import pytest

from services.router.policy.flight import Slot
from services.router.policy.reach import Reach, reach
from services.router.policy.request import Route
from tests.fakes.world import fleet_of, node

OFFERED = ["qwen", "llama", "tiny", "heuristic:tickets"]
GONE = "mixtral"


def route(
    *candidates: str,
    position: int = 0,
    too_small: Iterable[str] = (),
    too_slow: Iterable[Slot] = (),
) -> Route:
    return Route(candidates, position, frozenset(too_small), frozenset(too_slow))


@pytest.mark.parametrize(
    ("candidates", "position", "expected"),
    [
        pytest.param(["qwen"], 0, Reach("qwen", ()), id="the only one"),
        pytest.param([GONE], 0, Reach(None, ()), id="the only one is offered by nobody"),
        pytest.param(["qwen", "llama"], 0, Reach("qwen", ("llama",)), id="overdue: the next"),
        pytest.param(["qwen", "llama"], 1, Reach("llama", ()), id="from its position"),
        pytest.param([GONE, "llama"], 0, Reach("llama", ()), id="one that is offered"),
        pytest.param(["qwen", GONE], 1, Reach("qwen", ()), id="else from the start"),
        pytest.param(["qwen", "tiny"], 0, Reach("qwen", ("tiny",)), id="overdue: noise"),
        pytest.param([GONE, "tiny"], 0, Reach(None, ("tiny",)), id="noise only when overdue"),
        pytest.param([GONE, "tiny"], 1, Reach("tiny", ()), id="noise by position"),
        pytest.param(["tiny", "qwen"], 0, Reach("tiny", ("qwen",)), id="noise where it is first"),
        pytest.param(
            [GONE, "heuristic:tickets", "llama"],
            0,
            Reach("llama", ("heuristic:tickets",)),
            id="a model before the rules",
        ),
        pytest.param(
            ["tiny", GONE], 1, Reach(None, ("tiny",)), id="noise before it, only when overdue"
        ),
    ],
)
def test_reach(candidates: list[str], position: int, expected: Reach) -> None:
    offers = fleet_of(node("a", OFFERED)).offers

    assert reach(route(*candidates, position=position), offers) == expected


def test_a_candidate_that_is_proven_too_small_is_out_of_reach() -> None:
    offers = fleet_of(node("a", OFFERED)).offers

    assert reach(route("qwen", "llama", too_small={"qwen"}), offers) == Reach("llama", ())
    assert reach(route("qwen", "llama", too_small={"llama"}), offers) == Reach("qwen", ())


def test_a_candidate_is_out_of_reach_once_it_is_too_slow_on_every_node_that_offers_it() -> None:
    offers = fleet_of(node("a", OFFERED), node("b", OFFERED)).offers
    on_a, on_b = Slot("a", "qwen"), Slot("b", "qwen")

    both = Reach("qwen", ("llama",))
    assert reach(route("qwen", "llama", too_slow={on_a}), offers) == both
    assert reach(route("qwen", "llama", too_slow={on_a, on_b}), offers) == Reach("llama", ())
