"""`settle`: what becomes of an attempt that failed, fell silent, or whose node is lost."""

import pytest

from shared.bus.ids import attempt_id, final_id
from shared.bus.records import ROUTER, WORKER, Retry
from shared.events.base import Priority
from shared.events.inference import (
    FailureReason,
    InferenceAttemptFailed,
    InferenceDispatched,
    InferenceFailed,
)
from tests.bus.facts import ASKER, COMPLETED, GIVE_UP, NODE, OVERDUE, REQUEST, RETRY, failure
from tests.bus.scene import HOLDING, STATES, Scene

AT_WORKER = ("dispatched", "running", "streaming", "preempted")
LOST = failure(reason=FailureReason.NODE_LOST)
UNSETTLED = {
    "none": "none",
    "cancelled_early": "attempt",
    "waiting": "waits_already",
    "waiting_again": "waits_already",
    "completed": "final",
    "failed": "final",
    "rejected": "final",
    "cancelled": "final",
    "cancelled_dispatched": "final",
    "cancelled_running": "final",
}
VERDICTS = pytest.mark.parametrize("verdict", [RETRY, GIVE_UP], ids=["retry", "give up"])


def test_the_tables_have_every_state() -> None:
    assert {*UNSETTLED, *AT_WORKER, "released"} == STATES.keys()


@pytest.mark.parametrize(("state", "answer"), UNSETTLED.items())
@VERDICTS
async def test_where_nothing_failed_nothing_is_decided(
    scene: Scene, state: str, answer: str, verdict: Retry | InferenceFailed
) -> None:
    before = await scene.reach(state)

    assert await scene.settle(verdict) == answer

    after = await scene.stored()
    assert after.hashes == before.hashes
    assert after.flight == {}
    assert after.stream(InferenceFailed) == before.stream(InferenceFailed)
    if state in HOLDING:
        assert after.stream(InferenceDispatched, NODE).pending == {WORKER: []}
        assert after.stream(InferenceDispatched, NODE).entries == {}


@pytest.mark.parametrize("state", AT_WORKER)
@VERDICTS
async def test_while_the_lease_runs_the_attempt_is_alive(
    scene: Scene, state: str, verdict: Retry | InferenceFailed
) -> None:
    before = await scene.reach(state)

    assert await scene.settle(verdict) == "alive"

    assert await scene.stored() == before


@pytest.mark.parametrize("state", [*AT_WORKER, "released"])
@VERDICTS
async def test_another_attempt_is_not_settled(
    scene: Scene, state: str, verdict: Retry | InferenceFailed
) -> None:
    before = await scene.reach(state)

    assert await scene.settle(verdict, failed=failure(attempt=2), node_lost=True) == "attempt"

    assert await scene.stored() == before


@pytest.mark.parametrize("state", ["dispatched", "running", "preempted"])
@pytest.mark.parametrize("node_lost", [False, True], ids=["lease over", "node lost"])
async def test_a_silent_attempt_is_retried_and_said_to_have_failed(
    scene: Scene, state: str, node_lost: bool
) -> None:
    before = await scene.reach(state)
    if not node_lost:
        await scene.lapse()

    assert await scene.settle(Retry(1, 12345), failed=LOST, node_lost=node_lost) == "waiting"

    stored = await scene.stored()
    record = stored.record(REQUEST)
    [failed] = stored.events(InferenceAttemptFailed)
    assert record == before.record(REQUEST) | {
        **{"state": "waiting", "position": "1", "not_before_ms": "12345", "executor": ""},
        **{"stop": "", "charged": "1", "last_reason": "node_lost"},
    }
    assert stored.waiting(Priority.NORMAL) == {REQUEST: float(record["admitted_ms"])}
    assert failed["id"] == attempt_id(InferenceAttemptFailed.type, REQUEST, scene.entry.id, 1)
    assert (failed["source"], failed["data"]) == (ROUTER, LOST.model_dump_json(exclude_none=True))
    assert stored.stream(InferenceDispatched, NODE).entries == {}
    assert stored.stream(InferenceDispatched, NODE).pending == {WORKER: []}


async def test_a_released_attempt_is_retried_without_being_announced_again(
    scene: Scene,
) -> None:
    before = await scene.reach("released")

    assert await scene.retry() == "waiting"

    after = await scene.stored()
    assert after.stream(InferenceAttemptFailed) == before.stream(InferenceAttemptFailed)
    assert after.record(REQUEST)["charged"] == "1"


@pytest.mark.parametrize("state", [*AT_WORKER, "released"])
async def test_a_request_without_another_chance_fails(scene: Scene, state: str) -> None:
    await scene.reach(state)

    assert await scene.settle(GIVE_UP, failed=LOST, node_lost=True) == "failed"

    stored = await scene.stored()
    record = stored.record(REQUEST)
    [failed] = stored.events(InferenceFailed)
    assert (failed["id"], failed["data"]) == (
        final_id(REQUEST, scene.entry.id),
        GIVE_UP.model_dump_json(exclude_none=True),
    )
    assert (record["outcome"], record["reason"]) == ("failed", FailureReason.ATTEMPTS_EXHAUSTED)
    assert record["last_reason"] == ("crashed" if state == "released" else "node_lost")
    assert len(stored.events(InferenceAttemptFailed)) == 1
    assert stored.flight == {}
    assert stored.replies(ASKER)[-1]["final"] == "failed"


@pytest.mark.parametrize("lost", [True, False], ids=["silent", "released"])
async def test_after_the_first_byte_there_is_no_silent_retry(scene: Scene, lost: bool) -> None:
    await scene.reach("streaming")
    if not lost:
        await scene.release()
    before = await scene.stored()

    assert await scene.settle(RETRY, node_lost=lost) == "first_byte"
    assert await scene.stored() == before

    assert await scene.settle(GIVE_UP, node_lost=lost) == "failed"


@pytest.mark.parametrize("lost", [True, False], ids=["silent", "released"])
async def test_after_the_deadline_there_is_no_retry(scene: Scene, lost: bool) -> None:
    await scene.reach("running" if lost else "released")
    await scene.overdue()
    before = await scene.stored()

    assert await scene.settle(RETRY, node_lost=lost) == "deadline"
    assert await scene.stored() == before

    assert await scene.settle(OVERDUE, node_lost=lost) == "failed"


@pytest.mark.parametrize("state", [*AT_WORKER, "released"])
@VERDICTS
async def test_settling_twice_is_settling_once(
    scene: Scene, state: str, verdict: Retry | InferenceFailed
) -> None:
    await scene.reach(state)
    await scene.settle(verdict, node_lost=True)
    before = await scene.stored()

    await scene.settle(verdict, node_lost=True)

    assert await scene.stored() == before


async def test_a_zombie_that_was_settled_cannot_finish_the_next_attempt(scene: Scene) -> None:
    await scene.reach("running")
    await scene.settle(RETRY, node_lost=True)
    await scene.dispatch(attempt=2)
    zombie = scene.attempt
    before = await scene.stored()

    assert await scene.worker().complete(zombie, COMPLETED) is False

    after = await scene.stored()
    assert (after.hashes, after.zsets) == (before.hashes, before.zsets)


async def test_an_attempt_without_a_flight_entry_counts_as_over(scene: Scene) -> None:
    await scene.reach("running")
    await scene.client.zrem(scene.keys.flight, REQUEST)

    assert await scene.settle(RETRY) == "waiting"
