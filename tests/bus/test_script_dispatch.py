"""`dispatch`: a waiting request becomes an attempt for one node, and nothing else does."""

import pytest

from shared.bus.ids import attempt_id
from shared.bus.records import WORKER
from shared.events.base import Priority
from shared.events.inference import InferenceDispatched, InferenceRouted
from tests.bus.facts import ELSEWHERE, LEASE_MS, MODEL, NODE, REQUEST, TRACEPARENT
from tests.bus.scene import STATES, Scene

ANSWERS = {
    "none": "none",
    "cancelled_early": "cancelled_early",
    "waiting": "ok",
    "dispatched": "ok",
    "running": "running",
    "streaming": "running",
    "preempted": "running",
    "released": "released",
    "waiting_again": "waiting",
    "completed": "final",
    "failed": "final",
    "rejected": "final",
    "cancelled": "final",
    "cancelled_dispatched": "final",
    "cancelled_running": "final",
}


def test_the_table_has_every_state() -> None:
    assert ANSWERS.keys() == STATES.keys()


@pytest.mark.parametrize(("state", "answer"), ANSWERS.items())
async def test_a_first_attempt_begins_only_where_the_request_waits_for_it(
    scene: Scene, state: str, answer: str
) -> None:
    before = await scene.reach(state)

    assert await scene.dispatch(attempt=1) == answer

    if state != "waiting":
        assert await scene.stored() == before


@pytest.mark.parametrize("state", STATES)
async def test_an_attempt_that_is_not_the_next_one_never_begins(scene: Scene, state: str) -> None:
    before = await scene.reach(state)

    await scene.dispatch(attempt=3)

    assert await scene.stored() == before


async def test_a_dispatched_request_does_not_move_to_another_node(scene: Scene) -> None:
    before = await scene.reach("dispatched")

    assert await scene.dispatch(attempt=1, node=ELSEWHERE) == "dispatched"

    assert await scene.stored() == before


async def test_dispatching_twice_is_dispatching_once(scene: Scene) -> None:
    await scene.reach("waiting")
    await scene.dispatch()
    before = await scene.stored()

    assert await scene.dispatch() == "ok"

    assert await scene.stored() == before


async def test_the_record_the_indexes_and_both_streams_say_the_same(scene: Scene) -> None:
    before = await scene.reach("waiting")

    await scene.dispatch()

    stored = await scene.stored()
    [(entry_id, command)] = stored.stream(InferenceDispatched, NODE).entries.items()
    record = stored.record(REQUEST)
    dispatched_ms = int(record["dispatched_ms"])
    assert record == before.record(REQUEST) | {
        **{"state": "dispatched", "attempt": "1", "node": NODE, "model": MODEL, "position": "0"},
        **{"entry": entry_id, "executor": "", "dispatched_ms": str(dispatched_ms)},
        **{"started_ms": "", "route": "free"},
    }
    assert stored.flight == {REQUEST: dispatched_ms + LEASE_MS}
    assert command["id"] == attempt_id(InferenceDispatched.type, REQUEST, scene.entry.id, 1)
    assert InferenceDispatched.model_validate_json(command["data"]) == InferenceDispatched(
        request_id=REQUEST, attempt=1, model=MODEL
    )
    [routed] = stored.events(InferenceRouted)
    assert routed["id"] == attempt_id(InferenceRouted.type, REQUEST, scene.entry.id, 1)
    assert routed["correlationid"] == REQUEST
    assert routed["traceparent"] == TRACEPARENT
    assert routed["priority"] == "NORMAL"


async def test_the_second_attempt_is_another_fact_than_the_first(scene: Scene) -> None:
    await scene.reach("waiting_again")

    assert await scene.dispatch(attempt=2, node=ELSEWHERE) == "ok"

    stored = await scene.stored()
    assert stored.record(REQUEST)["attempt"] == "2"
    assert stored.record(REQUEST)["position"] == "1"
    assert len({routed["id"] for routed in stored.events(InferenceRouted)}) == 2
    assert stored.stream(InferenceDispatched, NODE).entries == {}
    assert len(stored.stream(InferenceDispatched, ELSEWHERE).pending[WORKER]) == 1


async def test_a_leader_that_knows_another_class_is_sent_back_to_the_records(
    scene: Scene,
) -> None:
    await scene.reach("waiting")
    await scene.records.reprioritise(scene.token, REQUEST, Priority.NORMAL, Priority.HIGH)
    before = await scene.stored()

    assert await scene.dispatch() == "waiting"

    assert await scene.stored() == before
