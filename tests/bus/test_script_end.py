"""`end`: a request is cancelled, or out of time, in whatever state that finds it."""

import pytest
from pydantic_core import from_json

from shared.bus.ids import attempt_id, final_id
from shared.bus.records import WORKER
from shared.events.base import Priority
from shared.events.inference import (
    InferenceCancelled,
    InferenceDispatched,
    InferenceFailed,
    InferenceStopRequested,
)
from tests.bus.facts import ASKER, CANCELLED, ELSEWHERE, NODE, OVERDUE, REQUEST
from tests.bus.scene import FINAL, HOLDING, STATES, Scene

ENDED = ("cancelled_early", *FINAL, *HOLDING)
AT_WORKER = ("dispatched", "running", "streaming", "preempted")
ELSEWHERE_THAN_AT_A_WORKER = ("waiting", "waiting_again", "released")
ENDS = pytest.mark.parametrize("final", [CANCELLED, OVERDUE], ids=["cancel", "deadline"])
Final = InferenceCancelled | InferenceFailed


def test_the_tables_have_every_state() -> None:
    assert {"none", *ENDED, *AT_WORKER, *ELSEWHERE_THAN_AT_A_WORKER} == STATES.keys()


async def test_a_cancel_that_comes_first_leaves_a_mark(scene: Scene) -> None:
    assert await scene.cancel() == "early"

    stored = await scene.stored()
    assert stored.record(REQUEST) == {"state": "cancelled_early"}
    assert stored.events(InferenceCancelled) == []


async def test_a_deadline_of_an_unknown_request_leaves_nothing(scene: Scene) -> None:
    before = await scene.stored()

    assert await scene.end(OVERDUE) == "none"

    assert await scene.stored() == before


@pytest.mark.parametrize("state", ENDED)
@ENDS
async def test_what_has_ended_does_not_end_again(scene: Scene, state: str, final: Final) -> None:
    before = await scene.reach(state)

    assert await scene.end(final) == "final"

    assert await scene.stored() == before


@pytest.mark.parametrize("state", ELSEWHERE_THAN_AT_A_WORKER)
@ENDS
async def test_what_is_at_no_worker_ends_at_once(scene: Scene, state: str, final: Final) -> None:
    await scene.reach(state)

    assert await scene.end(final) == "ok"

    stored = await scene.stored()
    [event] = stored.events(type(final))
    assert (event["id"], event["data"]) == (
        final_id(REQUEST, scene.entry.id),
        final.model_dump_json(exclude_none=True),
    )
    assert stored.flight == {}
    assert stored.events(InferenceStopRequested, NODE) == []
    assert [reply["final"] for reply in stored.replies(ASKER)] == [
        "cancelled" if final is CANCELLED else "failed"
    ]


@pytest.mark.parametrize("state", AT_WORKER)
@ENDS
async def test_what_runs_ends_for_its_asker_and_keeps_its_slot(
    scene: Scene, state: str, final: Final
) -> None:
    before = await scene.reach(state)
    reason = "cancelled" if final is CANCELLED else "deadline"

    assert await scene.end(final) == "ok"

    stored = await scene.stored()
    [stop] = stored.events(InferenceStopRequested, NODE)[-1:]
    assert stored.flight == before.flight
    assert stored.record(REQUEST)["stop"] == reason
    assert stored.record(REQUEST)["reason"] == reason
    assert stop["id"] == attempt_id(InferenceStopRequested.type, REQUEST, scene.entry.id, 1, reason)
    assert from_json(stop["data"]) == {"request_id": REQUEST, "attempt": 1, "reason": reason}
    assert len(stored.stream(InferenceDispatched, NODE).pending[WORKER]) == 1
    assert "final" in stored.replies(ASKER)[-1]


@pytest.mark.parametrize("state", AT_WORKER)
@ENDS
async def test_whoever_errs_about_the_node_stops_the_right_one(
    scene: Scene, state: str, final: Final
) -> None:
    before = await scene.reach(state)

    assert await scene.end(final, node=ELSEWHERE) == "ok"

    stored = await scene.stored()
    assert stored.flight == before.flight
    assert from_json(stored.events(InferenceStopRequested, NODE)[-1]["data"])["attempt"] == 1
    assert stored.events(InferenceStopRequested, ELSEWHERE) == []


@pytest.mark.parametrize("state", [*AT_WORKER, "released"])
async def test_an_end_of_waiting_ones_lets_attempts_finish(scene: Scene, state: str) -> None:
    before = await scene.reach(state)

    assert await scene.end(OVERDUE, only_waiting=True) == "flying"

    assert await scene.stored() == before


@pytest.mark.parametrize("state", ["waiting", "waiting_again"])
async def test_an_end_of_waiting_ones_ends_what_waits(scene: Scene, state: str) -> None:
    await scene.reach(state)

    assert await scene.end(OVERDUE, only_waiting=True) == "ok"


@pytest.mark.parametrize("state", [*AT_WORKER, *ELSEWHERE_THAN_AT_A_WORKER, "none"])
async def test_cancelling_twice_is_cancelling_once(scene: Scene, state: str) -> None:
    await scene.reach(state)
    await scene.cancel()
    before = await scene.stored()

    assert await scene.cancel() == "final"

    assert await scene.stored() == before


async def test_a_cancel_that_does_not_know_the_class_finds_the_right_index(
    scene: Scene,
) -> None:
    await scene.admit(priority=Priority.CRITICAL)

    assert await scene.cancel() == "ok"

    assert (await scene.stored()).waiting(Priority.CRITICAL) == {}


@pytest.mark.parametrize("state", AT_WORKER)
async def test_the_worker_of_a_cancelled_attempt_frees_the_slot(scene: Scene, state: str) -> None:
    await scene.reach(state)
    await scene.cancel()

    if state == "dispatched":
        assert await scene.start() is None
    else:
        assert await scene.release() is False

    stored = await scene.stored()
    assert stored.flight == {}
    assert stored.stream(InferenceDispatched, NODE).pending == {WORKER: []}
    assert stored.record(REQUEST)["outcome"] == "cancelled"


async def test_waiters_hear_of_the_cancellation_too(scene: Scene) -> None:
    await scene.reach("waiting")
    await scene.admit(
        await scene.ask({"id": REQUEST, "replyto": "other", "data": scene.entry.data})
    )

    await scene.cancel()

    stored = await scene.stored()
    assert stored.replies("other") == stored.replies(ASKER) != []
