"""Which models a node can take requests for, and how many."""

import pytest

from services.router.policy.flight import Flight, Slot
from services.router.policy.view import Node
from shared.events.base import Operation
from shared.events.models import ModelState, NodeHeartbeat
from tests.fakes.world import fleet_of, local, node, resident

STATES_WITHOUT_SLOTS = [state for state in ModelState if state is not ModelState.READY]


@pytest.mark.parametrize("state", STATES_WITHOUT_SLOTS)
def test_only_a_ready_model_has_slots(state: ModelState) -> None:
    one = node("a", ready=[resident("qwen", state=state)])

    assert one.slots("qwen") == 0


@pytest.mark.parametrize(
    ("one", "slots"),
    [
        pytest.param(node("a", ready=[resident("qwen", slots=3)]), 3, id="ready"),
        pytest.param(node("a", ["qwen"]), 0, id="not resident"),
        pytest.param(node("a", [local("qwen", loadable=False)]), 2, id="always resident"),
        pytest.param(node("a", ["llama"]), 0, id="not in the inventory"),
        pytest.param(node("a", ready=["qwen"], alive=False), 0, id="lost"),
        pytest.param(node("a", ready=["qwen"], settled=False), 0, id="not heard yet"),
    ],
)
def test_slots_of_a_node(one: Node, slots: int) -> None:
    assert one.slots("qwen") == slots
    assert fleet_of(one).free_slots("a", "qwen") == slots


def test_slots_in_use_are_those_of_our_own_attempts_whatever_the_heartbeat_says() -> None:
    fleet = fleet_of(node("a", ready=[resident("qwen", slots=2, in_flight=2)]))
    assert fleet.free_slots("a", "qwen") == 2

    fleet.start("r1", "a", "qwen")
    fleet.put(node("a", ready=[resident("qwen", slots=2, in_flight=0)]))

    assert fleet.free_slots("a", "qwen") == 1


def test_an_ended_attempt_gives_its_slot_back_once() -> None:
    fleet = fleet_of(node("a", ready=["qwen"]))
    fleet.start("r1", "a", "qwen")

    fleet.end("r1")
    fleet.end("r1")

    assert fleet.free_slots("a", "qwen") == 2


def test_more_attempts_than_slots_leave_none_free() -> None:
    fleet = fleet_of(node("a", ready=["qwen"]))
    for request in ("r1", "r2", "r3"):
        fleet.start(request, "a", "qwen")
    assert fleet.free_slots("a", "qwen") == 0

    fleet.end("r1")

    assert fleet.free_slots("a", "qwen") == 0
    assert list(fleet.models_with_slots()) == []


def test_attempts_on_a_lost_node_still_hold_their_slots_when_it_returns() -> None:
    fleet = fleet_of(node("a", ready=["qwen"]))
    fleet.start("r1", "a", "qwen")

    fleet.lose("a")
    assert fleet.free_slots("a", "qwen") == 0
    fleet.put(node("a", ready=["qwen"]))

    assert fleet.free_slots("a", "qwen") == 1


def test_a_node_that_nobody_knows_can_be_lost_without_harm() -> None:
    fleet = fleet_of()
    fleet.lose("a")
    assert fleet.nodes == {}


def test_the_best_nodes_have_most_free_slots_and_then_the_first_names() -> None:
    fleet = fleet_of(*(node(name, ready=["qwen"]) for name in ("c", "b", "a")))
    assert fleet.best_nodes("qwen") == ["a", "b", "c"]

    for request in ("r1", "r2"):
        fleet.start(request, "a", "qwen")
    fleet.start("r3", "b", "qwen")

    assert fleet.best_nodes("qwen") == ["c", "b"]


def test_an_offer_is_what_every_live_node_can_do_and_the_largest_of_them_can_hold() -> None:
    both = (Operation.CHAT, Operation.EMBEDDING)
    fleet = fleet_of(
        node("a", [local("qwen", operations=both, context_tokens=4096, need_mib=5000)]),
        node("b", [local("qwen", operations=both[:1], context_tokens=8192, need_mib=4000)]),
    )

    offer = fleet.offers["qwen"]

    assert offer.operations == {Operation.CHAT}
    assert (offer.context_tokens, offer.need_mib, offer.fallback) == (8192, 5000, False)
    assert offer.holds(8192)
    assert not offer.holds(8193)


def test_noise_and_rules_are_fallbacks_and_rules_hold_any_length() -> None:
    offers = fleet_of(node("a", ["tiny", "heuristic:tickets"])).offers

    assert offers["tiny"].fallback
    assert offers["heuristic:tickets"].fallback
    assert not offers["tiny"].holds(10**6)
    assert offers["heuristic:tickets"].holds(10**6)


def test_a_lost_nodes_models_are_known_but_not_offered() -> None:
    fleet = fleet_of(node("a", ready=["qwen"]))

    fleet.lose("a")

    assert "qwen" not in fleet.offers
    assert "qwen" not in fleet.resident
    assert "qwen" in fleet.known


def test_the_version_of_the_offers_moves_with_them_and_with_nothing_else() -> None:
    fleet = fleet_of(node("a", ["qwen"]))
    version = fleet.offers_version

    fleet.put(node("a", ready=["qwen"]))
    fleet.start("r1", "a", "qwen")
    assert fleet.offers_version == version

    fleet.put(node("a", ["qwen", "llama"]))
    assert fleet.offers_version == version + 1


def test_a_heartbeat_settles_a_node() -> None:
    beat = NodeHeartbeat(
        node="a",
        instance="i1",
        inventory=(local("qwen"),),
        resident=(resident("qwen"),),
        in_flight=0,
    )

    one = Node.heard(beat)

    assert one == Node("a", "i1", {"qwen": local("qwen")}, {"qwen": resident("qwen")})
    assert one.slots("qwen") == 2


def test_a_request_flies_once_at_a_time() -> None:
    flight = Flight()
    flight.start("r1", Slot("a", "qwen"))

    with pytest.raises(ValueError, match="r1 is in flight on a"):
        flight.start("r1", Slot("b", "qwen"))


def test_flight_tells_who_is_where() -> None:
    flight = Flight()
    flight.start("r1", Slot("a", "qwen"))
    flight.start("r2", Slot("a", "llama"))
    flight.start("r3", Slot("b", "qwen"))

    assert flight.on(Slot("a", "qwen")) == {"r1"}
    assert flight.end("r1") == Slot("a", "qwen")
    assert flight.end("r1") is None
    assert flight.on(Slot("a", "qwen")) == set()
