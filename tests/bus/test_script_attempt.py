"""`start`, `beat` and `emit`: one executor has the attempt, and hears when to let go."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from shared.bus.attempts import TOLD, Attempt, Piece
from shared.bus.envelope import Entry
from shared.bus.ids import attempt_id
from shared.bus.records import WORKER
from shared.events.inference import InferenceDispatched, InferenceStarted
from tests.bus.facts import (
    ASKER,
    BODY,
    ELSEWHERE,
    LEASE_MS,
    MODEL,
    NODE,
    OTHERS,
    REQUEST,
    TRACEPARENT,
)
from tests.bus.scene import FINAL, HOLDING, STATES, Scene
from tests.bus.scene import emit as scene_emit
from tests.bus.stored import Stored

STARTED = ("running", "streaming", "preempted")
NOT_TO_BE_HAD = [each for each in STATES if each not in ("dispatched", *STARTED)]
Call = Callable[[Scene, Attempt], Awaitable[str]]


async def beat(scene: Scene, attempt: Attempt) -> str:
    return await scene.checked(scene.worker().beat(attempt, LEASE_MS))


async def emit(scene: Scene, attempt: Attempt) -> str:
    return await scene_emit(scene, attempt, 7, b'{"content":"x"}')


PROGRESS = pytest.mark.parametrize("call", [beat, emit])


async def stray_command(scene: Scene) -> Entry:
    """The entry of an attempt, as a worker reads it that comes too late, or too early."""
    stream = scene.keys.stream(InferenceDispatched, NODE)
    await scene.client.xadd(stream, {"data": "{}"})
    reply: Any = await scene.client.xreadgroup(WORKER, "c", {stream: ">"}, count=1)
    return Entry(stream, reply[0][1][0][0].decode(), {})


def without_node_stream(stored: Stored) -> Stored:
    name = stored.keys.stream(InferenceDispatched, NODE)
    streams = {key: value for key, value in stored.streams.items() if key != name}
    return replace(stored, streams=streams)


async def test_a_dispatched_attempt_runs(scene: Scene) -> None:
    before = await scene.reach("dispatched")

    attempt = await scene.start()

    stored = await scene.stored()
    record = stored.record(REQUEST)
    executor = f"worker-1/{scene.dispatched.id}"
    assert attempt is not None
    assert (attempt.executor, attempt.body) == (executor, BODY)
    assert (attempt.replyto, attempt.wants_chunks) == (ASKER, True)
    assert attempt.record == {name: record[name] for name in TOLD}
    assert attempt.stamp_ms("started_ms") >= attempt.stamp_ms("admitted_ms") > 0
    assert record == before.record(REQUEST) | {
        **{"state": "running", "executor": executor, "started_ms": record["started_ms"]},
    }
    assert stored.flight == {REQUEST: int(record["started_ms"]) + LEASE_MS}
    assert stored.stream(InferenceDispatched, NODE) == before.stream(InferenceDispatched, NODE)


async def test_the_start_is_announced_with_what_the_record_knows(scene: Scene) -> None:
    await scene.reach("running")

    [started] = (await scene.stored()).events(InferenceStarted)
    assert started["id"] == attempt_id(InferenceStarted.type, REQUEST, scene.entry.id, 1)
    assert started["traceparent"] == TRACEPARENT
    assert {name: started[name] for name in ("task", "tenant", "model")} == {
        **{"task": "chat", "tenant": "local", "model": MODEL}
    }


@pytest.mark.parametrize("state", STARTED)
async def test_starting_again_gives_the_same_executor_the_same_attempt(
    scene: Scene, state: str
) -> None:
    before = await scene.reach(state)
    first = scene.attempt

    again = await scene.start()

    assert again is not None
    assert again == first
    assert await scene.stored() == before


async def test_every_execution_has_a_name_of_its_own(scene: Scene) -> None:
    await scene.reach("dispatched")
    worker = scene.worker()

    first, second = (worker.new_executor(scene.dispatched) for _ in range(2))

    assert first != second
    assert first.startswith(f"worker-1/{scene.dispatched.id}/")


@pytest.mark.parametrize("state", NOT_TO_BE_HAD)
async def test_what_is_not_dispatched_cannot_be_started(scene: Scene, state: str) -> None:
    before = await scene.reach(state)
    scene.dispatched = await stray_command(scene)

    assert await scene.start() is None

    after = await scene.stored()
    let_go = {} if state in HOLDING else before.flight
    assert after.flight == let_go
    assert scene.dispatched.id not in after.stream(InferenceDispatched, NODE).entries
    assert scene.dispatched.id not in after.stream(InferenceDispatched, NODE).pending[WORKER]
    assert after.hashes == before.hashes


@pytest.mark.parametrize("state", STARTED)
async def test_a_second_executor_of_the_node_gets_nothing(scene: Scene, state: str) -> None:
    before = await scene.reach(state)

    assert await scene.start("worker-2") is None

    assert without_node_stream(await scene.stored()) == without_node_stream(before)


@pytest.mark.parametrize("state", ["dispatched", *STARTED])
@pytest.mark.parametrize(("attempt", "node"), [(2, NODE), (1, ELSEWHERE)], ids=["attempt", "node"])
async def test_another_attempt_or_node_gets_nothing(
    scene: Scene, state: str, attempt: int, node: str
) -> None:
    before = await scene.reach(state)

    assert await scene.start(attempt=attempt, node=node) is None

    assert without_node_stream(await scene.stored()) == without_node_stream(before)


async def test_a_beat_renews_the_lease(scene: Scene) -> None:
    await scene.reach("running")
    await scene.lapse()

    assert await beat(scene, scene.attempt) == "ok"

    assert (await scene.stored()).flight[REQUEST] > 1


@PROGRESS
@pytest.mark.parametrize(
    ("state", "answer"),
    {
        "preempted": "preempted",
        "released": "superseded",
        "waiting_again": "superseded",
        "completed": "superseded",
        "failed": "superseded",
        "cancelled_running": "cancelled",
    }.items(),
)
async def test_progress_tells_an_executor_to_stop(
    scene: Scene, call: Call, state: str, answer: str
) -> None:
    before = await scene.reach(state)

    assert await call(scene, scene.attempt) == answer

    after = await scene.stored()
    assert (after.hashes, after.streams) == (before.hashes, before.streams)
    if state != "preempted":
        assert after.flight == before.flight


@PROGRESS
@pytest.mark.parametrize("state", STARTED)
@pytest.mark.parametrize("other", OTHERS)
async def test_progress_of_somebody_else_changes_nothing(
    scene: Scene, call: Call, state: str, other: Callable[[Attempt], Attempt]
) -> None:
    before = await scene.reach(state)

    assert await call(scene, other(scene.attempt)) == "superseded"

    assert await scene.stored() == before


async def test_a_beat_after_the_deadline_says_so_and_still_renews(scene: Scene) -> None:
    await scene.reach("running")
    await scene.overdue()
    await scene.lapse()

    assert await beat(scene, scene.attempt) == "deadline"

    assert (await scene.stored()).flight[REQUEST] > 1


async def test_a_preempted_executor_keeps_its_slot_until_it_lets_go(scene: Scene) -> None:
    await scene.reach("preempted")
    await scene.lapse()

    assert await beat(scene, scene.attempt) == "preempted"

    assert (await scene.stored()).flight[REQUEST] > 1


async def test_the_first_piece_says_who_answers_and_is_marked(scene: Scene) -> None:
    await scene.reach("running")
    delta = json.dumps({"content": 'ä\u2028"\\\n\x00🚂'}, ensure_ascii=False).encode()

    await scene.emit(0, delta)
    marked = (await scene.stored()).record(REQUEST)["first_byte_ms"]
    await scene.emit(1, b"{}")

    stored = await scene.stored()
    first, second = stored.replies(ASKER)
    assert int(marked) > 0
    assert stored.record(REQUEST)["first_byte_ms"] == marked
    assert first == {
        **{"request": REQUEST, "attempt": "1", "seq": "0", "delta": delta.decode()},
        **{"model": MODEL, "node": NODE},
    }
    assert second == {"request": REQUEST, "attempt": "1", "seq": "1", "delta": "{}"}


async def test_pieces_of_many_answers_go_in_one_call_and_each_hears_its_own_status(
    scene: Scene,
) -> None:
    await scene.reach("running")
    stranger = replace(scene.attempt, executor="worker-9/1-0/x")
    mine, other, more = [
        Piece(attempt, seq, b'{"content":"%d"}' % seq)
        for seq, attempt in enumerate((scene.attempt, stranger, scene.attempt))
    ]

    assert await scene.worker().emit([mine, other, more]) == ["ok", "superseded", "ok"]
    assert [reply["seq"] for reply in (await scene.stored()).replies(ASKER)] == ["0", "2"]


async def test_a_piece_of_a_record_that_is_none_holds_up_no_other(scene: Scene) -> None:
    await scene.reach("running")
    await scene.client.set(scene.keys.request("broken"), "a string")
    broken = replace(
        scene.attempt,
        dispatched=scene.attempt.dispatched.model_copy(update={"request_id": "broken"}),
    )

    pieces = [Piece(broken, 0, b"{}"), Piece(scene.attempt, 0, b"{}")]
    statuses = await scene.worker().emit(pieces)

    assert statuses == ["superseded", "ok"]


async def test_a_piece_sent_twice_carries_the_same_number(scene: Scene) -> None:
    await scene.reach("running")

    await scene.emit(0)
    await scene.emit(0)

    first, again = (await scene.stored()).replies(ASKER)
    assert first == again


@pytest.mark.parametrize("state", [*FINAL, *HOLDING])
async def test_nothing_follows_the_end_of_a_reply(scene: Scene, state: str) -> None:
    await scene.reach(state)
    if hasattr(scene, "attempt"):
        await emit(scene, scene.attempt)

    assert "final" in (await scene.stored()).replies(ASKER)[-1]
