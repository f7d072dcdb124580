"""`finish` and `abandon`: an executor's last word counts only while the attempt is its own."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic_core import from_json

from shared.bus.attempts import Attempt
from shared.bus.ids import attempt_id, final_id
from shared.bus.records import WORKER
from shared.events.inference import (
    FailureReason,
    InferenceAttemptFailed,
    InferenceCompleted,
    InferenceDispatched,
    InferenceFailed,
    InferenceRouted,
    InferenceStarted,
)
from tests.bus.facts import ASKER, COMPLETED, NODE, OTHERS, REQUEST, TRACEPARENT, failure
from tests.bus.scene import HOLDING, Scene

RUNNING = ("running", "streaming", "preempted")
OVER = ("released", "waiting_again", "completed", "failed", "cancelled_running")
ODD_TEXT = 'quote " backslash \\ percent %s zero \x00 line \u2028 smörgåsbord 🚂 </script> \\u0041'


def with_output(output: dict[str, Any]) -> InferenceCompleted:
    return COMPLETED.model_copy(update={"output": output})


@pytest.mark.parametrize("state", RUNNING)
async def test_a_completed_attempt_ends_the_request(scene: Scene, state: str) -> None:
    await scene.reach(state)

    assert await scene.complete() is True

    stored = await scene.stored()
    [completed] = stored.events(InferenceCompleted)
    assert completed["id"] == final_id(REQUEST, scene.entry.id)
    assert completed["source"] == WORKER
    assert completed["traceparent"] == TRACEPARENT
    assert stored.record(REQUEST)["outcome"] == "completed"
    assert stored.record(REQUEST)["stop"] == ""
    assert stored.flight == {}
    assert stored.stream(InferenceDispatched, NODE).entries == {}
    assert stored.stream(InferenceDispatched, NODE).pending == {WORKER: []}
    assert stored.replies(ASKER)[-1]["final"] == "completed"


async def test_what_the_scripts_say_has_the_ids_that_everybody_else_derives(scene: Scene) -> None:
    await scene.reach("running")
    queued = (await scene.stored()).events(InferenceDispatched, NODE)
    await scene.complete()

    stored = await scene.stored()
    for told, event in (
        (queued, InferenceDispatched),
        (stored.events(InferenceRouted), InferenceRouted),
        (stored.events(InferenceStarted), InferenceStarted),
    ):
        assert [(each["id"], each["type"], each["subject"]) for each in told] == [
            (attempt_id(event.type, REQUEST, scene.entry.id, 1), event.type, REQUEST)
        ]
    [completed] = stored.events(InferenceCompleted)
    for each in (*stored.events(InferenceRouted), *stored.events(InferenceStarted), completed):
        assert each["correlationid"] == REQUEST
        assert each["specversion"] == "1.0"
        assert datetime.fromisoformat(each["time"]).tzinfo is UTC


async def test_the_end_tells_the_whole_story(scene: Scene) -> None:
    before = await scene.reach("streaming")
    record = before.record(REQUEST)

    await scene.complete()

    [told] = (await scene.stored()).events(InferenceCompleted)
    stages = ("received_ms", "admitted_ms", "dispatched_ms", "started_ms", "first_byte_ms")
    assert {name: told[name.replace("_", "")] for name in stages} == {
        name: record[name] for name in stages
    }
    assert told["inboxentry"] == scene.entry.id
    same = ("fingerprint", "operation", "inputbytes", "node", "attempt", "route", "priority")
    assert {name: told[name] for name in same} == {name: record[name] for name in same}


async def test_a_failed_attempt_tells_nothing_of_the_start_of_the_one_before(scene: Scene) -> None:
    await scene.reach("waiting_again")
    await scene.dispatch(attempt=2)

    await scene.settle(failed=failure(attempt=2), node_lost=True)

    first, second = (await scene.stored()).events(InferenceAttemptFailed)
    assert (first["attempt"], second["attempt"]) == ("1", "2")
    assert "startedms" in first
    assert "startedms" not in second


async def test_a_tombstone_keeps_who_when_and_how_but_not_where_to_reply(scene: Scene) -> None:
    await scene.reach("completed")

    record = (await scene.stored()).record(REQUEST)

    assert {"principal", "tenant", "task", "model", "node", "fingerprint"} < record.keys()
    assert {"admitted_ms", "dispatched_ms", "started_ms", "finished_ms"} < record.keys()
    assert not {"replyto", "replymode", "traceparent", "maxtokens"} & record.keys()


@pytest.mark.parametrize(
    "output",
    [{}, {"text": ""}, {"text": ODD_TEXT}, {"text": "ä" * 2**19}],
    ids=["nothing", "empty", "odd", "1 MiB"],
)
async def test_the_output_arrives_byte_for_byte(scene: Scene, output: dict[str, Any]) -> None:
    await scene.reach("running")
    completed = with_output(output)

    await scene.complete(completed)

    stored = await scene.stored()
    data = completed.model_dump_json(exclude_none=True)
    assert stored.events(InferenceCompleted)[0]["data"] == data
    assert stored.replies(ASKER)[0]["data"] == data
    result = stored.result(REQUEST)
    assert result is not None
    assert from_json(result) == {"outcome": "completed", "data": from_json(data)}


async def test_a_key_of_another_type_is_nobodys_reply_stream(scene: Scene) -> None:
    await scene.reach("running")
    await scene.client.set(scene.keys.reply(ASKER), "not a stream")

    assert await scene.complete() is True

    assert (await scene.stored()).strings[scene.keys.reply(ASKER)] == b"not a stream"


@pytest.mark.parametrize("state", RUNNING)
async def test_a_released_attempt_waits_for_the_routers_decision(scene: Scene, state: str) -> None:
    await scene.reach(state)

    assert await scene.release(failure(reason=FailureReason.HUNG)) is True

    stored = await scene.stored()
    record = stored.record(REQUEST)
    [failed] = stored.events(InferenceAttemptFailed)
    assert (record["state"], record["last_reason"], record["charged"]) == ("released", "hung", "1")
    assert stored.flight == {REQUEST: 0}
    assert failed["id"] == attempt_id(InferenceAttemptFailed.type, REQUEST, scene.entry.id, 1)
    assert failed["data"] == failure(reason=FailureReason.HUNG).model_dump_json(exclude_none=True)
    assert stored.stream(InferenceDispatched, NODE).pending == {WORKER: []}
    assert not [reply for reply in stored.replies(ASKER) if "final" in reply]


async def test_an_attempt_that_counts_against_nobody_is_not_charged(scene: Scene) -> None:
    await scene.reach("running")

    await scene.release(failure(reason=FailureReason.NOT_RESIDENT, charge=0))

    assert (await scene.stored()).record(REQUEST)["charged"] == "0"


@pytest.mark.parametrize("state", OVER)
@pytest.mark.parametrize("completes", [True, False], ids=["complete", "release"])
async def test_a_last_word_that_comes_late_is_not_heard(
    scene: Scene, state: str, completes: bool
) -> None:
    before = await scene.reach(state)

    assert await (scene.complete() if completes else scene.release()) is False

    after = await scene.stored()
    assert after.hashes == before.hashes
    assert after.flight == ({} if state in HOLDING else before.flight)
    assert after.events(InferenceCompleted) == before.events(InferenceCompleted)
    assert after.events(InferenceAttemptFailed) == before.events(InferenceAttemptFailed)
    assert after.stream(InferenceDispatched, NODE).pending == {WORKER: []}


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("completes", [True, False], ids=["complete", "release"])
async def test_a_last_word_of_somebody_else_is_not_heard(
    scene: Scene, other: Callable[[Attempt], Attempt], completes: bool
) -> None:
    before = await scene.reach("running")
    scene.attempt = other(scene.attempt)

    assert await (scene.complete() if completes else scene.release()) is False

    after = await scene.stored()
    assert (after.hashes, after.zsets) == (before.hashes, before.zsets)


@pytest.mark.parametrize("completes", [True, False], ids=["complete", "release"])
async def test_finishing_twice_is_finishing_once(scene: Scene, completes: bool) -> None:
    await scene.reach("running")
    await (scene.complete() if completes else scene.release())
    before = await scene.stored()

    await (scene.complete() if completes else scene.release())

    assert await scene.stored() == before


@pytest.mark.parametrize(
    ("state", "answer"),
    {
        "dispatched": "dispatched",
        "running": "ok",
        "streaming": "ok",
        "preempted": "ok",
        "released": "stale",
        "waiting_again": "stale",
        "completed": "stale",
        "failed": "stale",
        "cancelled_dispatched": "stale",
        "cancelled_running": "stale",
    }.items(),
)
async def test_a_restarted_worker_gives_back_only_what_ran(
    scene: Scene, state: str, answer: str
) -> None:
    before = await scene.reach(state)

    assert await scene.abandon("worker-2") == answer

    after = await scene.stored()
    if answer == "dispatched":
        assert after == before
        return
    assert after.stream(InferenceDispatched, NODE).entries == {}
    assert after.stream(InferenceDispatched, NODE).pending == {WORKER: []}
    assert after.flight == ({} if state in HOLDING else after.flight)
    if answer == "stale":
        assert after.hashes == before.hashes
        assert after.stream(InferenceAttemptFailed) == before.stream(InferenceAttemptFailed)


async def test_an_abandoned_attempt_is_charged_and_settled_like_any_failure(
    scene: Scene,
) -> None:
    await scene.reach("running")

    await scene.abandon("worker-2")
    before = await scene.stored()
    again = await scene.abandon("worker-2")

    stored = await scene.stored()
    record = stored.record(REQUEST)
    [failed] = stored.events(InferenceAttemptFailed)
    assert (again, stored) == ("stale", before)
    assert (record["state"], record["charged"]) == ("released", "1")
    assert record["last_reason"] == FailureReason.WORKER_RESTARTED
    assert from_json(failed["data"])["reason"] == FailureReason.WORKER_RESTARTED
    assert await scene.retry() == "waiting"


@pytest.mark.parametrize("attempt", [2, 0])
async def test_another_attempt_is_not_abandoned(scene: Scene, attempt: int) -> None:
    before = await scene.reach("running")

    assert await scene.abandon("worker-2", attempt=attempt) == "stale"

    assert (await scene.stored()).hashes == before.hashes


async def test_what_a_worker_runs_itself_is_left_alone(scene: Scene) -> None:
    before = await scene.reach("running")

    assert await scene.abandon("worker-1") == "own"

    assert await scene.stored() == before


async def test_an_instance_whose_name_begins_like_another_is_another(scene: Scene) -> None:
    await scene.reach("dispatched")
    await scene.start("worker-12")

    assert await scene.abandon("worker-1") == "ok"


async def test_a_request_whose_attempt_was_abandoned_can_still_fail(scene: Scene) -> None:
    await scene.reach("running")
    await scene.abandon()

    assert await scene.give_up() == "failed"

    assert len((await scene.stored()).events(InferenceFailed)) == 1
