"""What the manager knows of its nodes, after what it was told and what it commanded."""

import pytest

from services.model_manager.fleet import Fleet
from shared.config import Config, NodeConfig
from shared.events.base import Priority
from shared.events.models import ModelDemand, ModelState
from tests.fakes.stalls import device, sample
from tests.model_manager.told import Told


@pytest.fixture
def told() -> Told:
    return Told()


def test_a_node_offers_what_it_could_load(told: Told) -> None:
    assert set(told.box.offers) == {"a", "b"}
    assert told.box.offers["a"].need_mib == 4_000
    assert told.box.offers["a"].load_s == pytest.approx(1.5 + 4_000 / 2_500)


def test_a_silent_node_is_not_acted_upon_until_it_is_heard_again(told: Told) -> None:
    told.now_s += 6.0
    assert told.view().nodes == {}

    told.beats()
    assert "box" in told.view().nodes


def test_a_lost_node_is_not_acted_upon_and_its_commands_are_forgotten(told: Told) -> None:
    told.loads("a")
    told.fleet.on_node_lost("box")
    assert told.view().nodes == {}

    told.beats()
    assert told.held == {}


def test_a_model_found_in_a_beat_holds_its_measured_memory(told: Told) -> None:
    told.beats("b")

    held = told.held["b"]
    assert (held.state, held.held_mib, held.pinned) == (ModelState.READY, 3_000, True)
    assert (held.idle_since_s, held.idle_unload_s) == (told.now_s - 7.0, 9.0)
    assert told.free_mib == 19_456 - 3_000


def test_what_is_always_resident_is_not_held(told: Told) -> None:
    told.beats("rules")

    assert told.held == {}


def test_a_commanded_load_counts_until_the_node_says_what_became_of_it(told: Told) -> None:
    told.loads("a")
    told.beats()
    assert told.held["a"].state is ModelState.LOADING
    assert told.free_mib == 19_456 - 4_000

    told.beats("a")
    assert told.held["a"].state is ModelState.READY
    assert told.free_mib == 19_456 - 3_000


def test_a_commanded_unload_counts_until_the_node_says_what_became_of_it(told: Told) -> None:
    told.beats("a")
    told.unloads("a")
    told.beats("a")
    assert told.held["a"].state is ModelState.DRAINING

    told.beats()
    assert told.held == {}


@pytest.mark.parametrize("before", [(), ("a",)], ids=["load", "unload"])
def test_a_command_that_no_beat_knows_of_for_ten_seconds_was_interrupted(
    told: Told, before: tuple[str, ...]
) -> None:
    told.beats(*before)
    held = told.held
    if before:
        told.unloads("a")
    else:
        told.loads("a")

    told.now_s += 9.9
    told.beats(*before)
    assert told.held != held
    told.now_s += 0.1
    told.beats(*before)

    assert {name: each.state for name, each in told.held.items()} == {
        name: each.state for name, each in held.items()
    }


def test_a_worker_that_started_anew_knows_nothing_of_earlier_commands(told: Told) -> None:
    told.loads("a")
    told.beats(instance="2")

    assert told.held == {}
    assert told.free_mib == 19_456


def test_a_change_between_two_beats_is_known_at_once(told: Told) -> None:
    told.loads("a")
    told.changes("a", ModelState.READY, load_ms=2_500, measured_mib=3_500)

    assert told.held["a"].state is ModelState.READY
    assert told.free_mib == 19_456 - 3_500
    assert told.box.offers["a"].load_s == 2.5

    told.changes("a", ModelState.UNLOADED)
    assert told.held == {}


def test_a_change_that_is_older_than_the_last_beat_is_history(told: Told) -> None:
    told.beats("a")
    told.changes("a", ModelState.UNLOADED, earlier_ms=5)

    assert told.held["a"].state is ModelState.READY


@pytest.mark.parametrize(
    "says",
    [
        pytest.param(lambda told: told.changes("a", ModelState.UNLOADED), id="by the change"),
        pytest.param(lambda told: told.beats(), id="by the beat"),
        pytest.param(
            lambda told: (told.beats(), told.changes("a", ModelState.UNLOADED, earlier_ms=5)),
            id="by the beat and then the change",
        ),
    ],
)
def test_a_load_that_failed_is_not_tried_again_at_once(told: Told, says: object) -> None:
    pauses_s = []
    for _ in range(8):
        told.loads("a")
        told.beats("a", state=ModelState.LOADING)
        says(told)  # type: ignore[operator]
        assert told.held == {}
        pauses_s.append(told.box.offers["a"].not_before_s - told.now_s)

    assert pauses_s == [5, 10, 20, 40, 80, 160, 300, 300]


def test_a_load_that_ended_with_its_worker_has_not_failed(told: Told) -> None:
    told.loads("a")
    told.beats("a", state=ModelState.LOADING)
    told.beats(instance="2")

    assert told.box.offers["a"].not_before_s == 0.0


def test_a_load_under_way_counts_in_full_for_a_new_leader(told: Told) -> None:
    told.fleet = Fleet()
    told.beats("a", state=ModelState.LOADING)
    for _ in range(2):
        told.fleet.on_sample(sample(device(20_480)))

    assert told.free_mib == 19_456 - 4_000

    told.fleet.on_sample(sample(device(20_480, used_mib=1_000)))
    assert told.free_mib == 19_456 - 5_000


def test_a_load_that_failed_before_any_beat_told_of_it_frees_its_node_at_once(told: Told) -> None:
    told.loads("a")
    told.beats()
    told.changes("a", ModelState.UNLOADED, earlier_ms=5)

    assert told.held == {}
    assert told.free_mib == 19_456
    assert told.box.offers["a"].not_before_s == told.now_s + 5


def test_a_load_that_worked_ends_the_pauses(told: Told) -> None:
    told.loads("a")
    told.changes("a", ModelState.UNLOADED)
    told.loads("a")
    told.beats("a")
    told.beats()

    assert told.box.offers["a"].not_before_s == 0.0


def test_a_budget_of_the_configuration_bounds_the_node(told: Told) -> None:
    view = told.fleet.view(Config(nodes={"box": NodeConfig(memory_mib=5_000)}), told.now_s)

    assert view.nodes["box"].ledger.fit(5_001) is None
    assert view.nodes["box"].ledger.fit(5_000) is not None


def test_what_waits_weighs_by_its_priority_and_its_wait(told: Told) -> None:
    waiting = [
        ModelDemand(model="a", waiting={Priority.HIGH: 2}, oldest_wait_s=0.0),
        ModelDemand(model="b", waiting={Priority.LOW: 3}, oldest_wait_s=15.0),
        ModelDemand(model="c", waiting={Priority.LOW: 0}, oldest_wait_s=0.0),
    ]
    told.fleet.on_demand(waiting, told.now_s)

    assert [(want.model, want.weight) for want in told.view().wanted] == [("a", 32.0), ("b", 6.0)]


def test_demand_that_nobody_repeats_is_forgotten(told: Told) -> None:
    waiting = [ModelDemand(model="a", waiting={Priority.HIGH: 2}, oldest_wait_s=0.0)]
    told.fleet.on_demand(waiting, told.now_s)
    told.now_s += 30.0

    assert told.view().wanted == ()


def test_an_operator_s_wish_lasts_until_the_model_is_ready(told: Told) -> None:
    told.fleet.ask("a", None, told.now_s)
    told.loads("a")
    assert [want.asked for want in told.view().wanted] == [True]

    told.beats("a")
    assert told.view().wanted == ()


def test_an_operator_s_wish_is_given_up_after_ten_minutes_or_when_withdrawn(told: Told) -> None:
    told.fleet.ask("a", "box", told.now_s)
    told.fleet.ask("b", None, told.now_s)
    told.fleet.withdraw("b")
    assert [(want.model, want.node) for want in told.view().wanted] == [("a", "box")]

    told.now_s += 600.0
    assert told.view().wanted == ()
