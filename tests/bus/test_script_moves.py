"""`preempt` and `reprioritise`: what the leader changes about a request that goes on."""

import pytest
from pydantic_core import from_json

from shared.bus.ids import attempt_id
from shared.events.base import Priority
from shared.events.inference import InferenceStopRequested
from tests.bus.facts import NODE, REQUEST
from tests.bus.scene import STATES, Scene

PREEMPT = {
    "none": "none",
    "cancelled_early": "cancelled_early",
    "waiting": "waiting",
    "dispatched": "dispatched",
    "running": "ok",
    "streaming": "first_byte",
    "preempted": "ok",
    "released": "released",
    "waiting_again": "waiting",
    "completed": "final",
    "failed": "final",
    "rejected": "final",
    "cancelled": "final",
    "cancelled_dispatched": "final",
    "cancelled_running": "final",
}
WAITING = ("waiting", "waiting_again")


def test_the_table_has_every_state() -> None:
    assert PREEMPT.keys() == STATES.keys()


@pytest.mark.parametrize(("state", "answer"), PREEMPT.items())
async def test_only_a_running_attempt_that_said_nothing_yet_is_preempted(
    scene: Scene, state: str, answer: str
) -> None:
    before = await scene.reach(state)

    assert await scene.preempt() == answer

    if state != "running":
        assert await scene.stored() == before


async def test_a_preempted_attempt_is_asked_to_stop_once(scene: Scene) -> None:
    before = await scene.reach("running")

    await scene.preempt()
    await scene.preempt()

    after = await scene.stored()
    [stop] = after.events(InferenceStopRequested, NODE)
    assert after.record(REQUEST) == before.record(REQUEST) | {"stop": "preempted"}
    assert stop["id"] == attempt_id(
        InferenceStopRequested.type, REQUEST, scene.entry.id, 1, "preempted"
    )
    assert from_json(stop["data"])["reason"] == "preempted"
    assert after.flight == before.flight


async def test_another_attempt_is_not_preempted(scene: Scene) -> None:
    before = await scene.reach("running")

    assert await scene.preempt(attempt=2) == "running"

    assert await scene.stored() == before


async def test_a_preempted_request_runs_again_without_being_told_to_stop(scene: Scene) -> None:
    await scene.reach("preempted")
    await scene.release()
    await scene.retry()
    await scene.dispatch(attempt=2)

    attempt = await scene.start(attempt=2)

    assert attempt is not None
    assert await scene.checked(scene.worker().beat(attempt, 1000)) == "ok"


async def move(scene: Scene, before: Priority, after: Priority) -> str:
    call = scene.records.reprioritise(scene.token, REQUEST, before, after)
    return await scene.checked(call)


@pytest.mark.parametrize("state", WAITING)
async def test_a_waiting_request_changes_its_class_and_keeps_its_age(
    scene: Scene, state: str
) -> None:
    before = await scene.reach(state)

    assert await move(scene, Priority.NORMAL, Priority.CRITICAL) == "ok"

    after = await scene.stored()
    assert after.waiting(Priority.CRITICAL) == before.waiting(Priority.NORMAL)
    assert after.waiting(Priority.NORMAL) == {}
    assert after.record(REQUEST) == before.record(REQUEST) | {"priority": "CRITICAL"}
    assert await move(scene, Priority.NORMAL, Priority.CRITICAL) == "ok"
    assert await scene.stored() == after


@pytest.mark.parametrize("state", [each for each in STATES if each not in WAITING])
async def test_what_does_not_wait_keeps_its_class(scene: Scene, state: str) -> None:
    before = await scene.reach(state)

    await move(scene, Priority.NORMAL, Priority.HIGH)

    assert await scene.stored() == before


async def test_a_move_from_a_class_that_it_is_not_in_changes_nothing(scene: Scene) -> None:
    before = await scene.reach("waiting")

    assert await move(scene, Priority.LOW, Priority.HIGH) == "NORMAL"

    assert await scene.stored() == before
