"""What the manager keeps of loads that failed, and what ends it."""

import pytest

from shared.events.models import ModelState
from tests.fakes.stalls import beat
from tests.model_manager.told import MODELS, Told


@pytest.fixture
def told() -> Told:
    return Told()


def fails(told: Told) -> None:
    told.loads("a")
    told.changes("a", ModelState.UNLOADED)


def problem(told: Told, said: str | None) -> None:
    told.at_ms += 10
    models = (MODELS[0].model_copy(update={"load_problem": said}), *MODELS[1:])
    told.fleet.on_heartbeat(beat(models, instance="1"), told.at_ms, told.now_s)


def test_an_offer_counts_its_failed_loads_and_says_why_the_last_one_failed(told: Told) -> None:
    fails(told)
    fails(told)
    problem(told, "no such file")

    offered = told.box.offers["a"]
    assert (offered.failures, offered.problem) == (2, "no such file")


def test_a_problem_that_the_node_no_longer_has_ends_the_pauses(told: Told) -> None:
    fails(told)
    problem(told, "no such file")
    problem(told, None)

    assert (told.box.offers["a"].failures, told.box.offers["a"].not_before_s) == (0, 0.0)


def test_whoever_asks_for_a_load_does_not_wait_for_a_pause_to_end(told: Told) -> None:
    fails(told)
    told.fleet.ask("a", "elsewhere", told.now_s)
    assert told.box.offers["a"].failures == 1

    told.fleet.ask("a", None, told.now_s)
    assert told.box.offers["a"].failures == 0
