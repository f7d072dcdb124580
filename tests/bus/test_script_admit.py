"""`admit`: an entry of the inbox becomes a record or its refusal, whatever is known of its id."""

from typing import Any

import pytest
from pydantic_core import from_json, to_json

from shared.bus.envelope import Entry
from shared.bus.ids import final_id
from shared.bus.records import ROUTER
from shared.events.base import Priority
from shared.events.inference import (
    FailureReason,
    InferenceCancelled,
    InferenceRejected,
    InferenceRequested,
)
from tests.bus.facts import (
    ASKER,
    BODY,
    CANCELLED,
    DEADLINE_MS,
    MODEL,
    RECORD_FIELDS,
    REFUSAL,
    REQUEST,
)
from tests.bus.scene import Scene


async def test_an_unknown_id_becomes_a_waiting_record(scene: Scene) -> None:
    answer = await scene.admit()

    stored = await scene.stored()
    record = stored.record(REQUEST)
    admitted_ms = int(record.pop("admitted_ms"))
    assert answer == "waiting"
    assert stored.waiting(Priority.NORMAL) == {REQUEST: admitted_ms}
    assert int(record.pop("deadline_ms")) == admitted_ms + DEADLINE_MS
    assert len(record.pop("fingerprint")) == 40
    assert int(record.pop("received_ms")) <= admitted_ms
    assert record.pop("inbox_entry") == scene.entry.id
    assert record == {
        **{"state": "waiting", "attempt": "0", "charged": "0", "stop": "", "replyto": ASKER},
        **{"priority": "NORMAL", "task": "chat", "model": ""},
        **RECORD_FIELDS,
    }
    assert stored.body(REQUEST) == BODY
    assert stored.strings[scene.keys.chain(REQUEST)] == to_json([MODEL, "m2"])
    assert stored.stream(InferenceRequested).pending == {ROUTER: []}


async def test_the_leader_learns_when_the_store_admitted_it(scene: Scene) -> None:
    entry = await scene.ask()
    seconds, microseconds = await scene.client.time()

    await scene.admit(entry)

    admitted_ms = int((await scene.stored()).record(REQUEST)["admitted_ms"])
    assert 0 <= admitted_ms - (int(seconds) * 1000 + int(microseconds) // 1000) < 5000


async def test_a_refusal_is_the_final_event_and_answers_the_asker(scene: Scene) -> None:
    answer = await scene.refuse()

    stored = await scene.stored()
    [rejected] = stored.events(InferenceRejected)
    assert answer == "rejected"
    assert rejected["id"] == final_id(REQUEST, scene.entry.id)
    assert rejected["data"] == REFUSAL.model_dump_json()
    assert rejected["principal"] == "local"
    assert stored.record(REQUEST)["reason"] == FailureReason.SATURATED
    assert stored.replies(ASKER) == [
        {"request": REQUEST, "attempt": "0", "final": "rejected", "data": rejected["data"]}
    ]


async def test_a_request_that_was_cancelled_first_is_never_run(scene: Scene) -> None:
    await scene.reach("cancelled_early")

    answer = await scene.admit()

    stored = await scene.stored()
    [cancelled] = stored.events(InferenceCancelled)
    assert answer == "cancelled"
    assert InferenceCancelled.model_validate_json(cancelled["data"]).attempts == 0
    assert [reply["final"] for reply in stored.replies(ASKER)] == ["cancelled"]


async def test_a_refused_request_that_was_cancelled_first_is_cancelled(scene: Scene) -> None:
    await scene.reach("cancelled_early")

    assert await scene.refuse() == "cancelled"


@pytest.mark.parametrize("state", ["none", "cancelled_early", "waiting", "running", "completed"])
async def test_an_entry_that_is_no_more_is_acknowledged(scene: Scene, state: str) -> None:
    entry = await scene.ask()
    await scene.client.xdel(entry.stream, entry.id)
    before = await scene.reach(state)

    answer = await scene.admit(entry)

    after = await scene.stored()
    assert answer == "gone"
    assert entry.id in before.stream(InferenceRequested).pending[ROUTER]
    assert entry.id not in after.stream(InferenceRequested).pending[ROUTER]
    assert (after.hashes, after.zsets, after.strings) == (
        before.hashes,
        before.zsets,
        before.strings,
    )


async def with_blob(scene: Scene, body: bytes | None) -> Entry:
    if body is not None:
        await scene.client.set(scene.keys.blob("r1:blob"), body)
    return await scene.ask({"id": REQUEST, "replyto": ASKER, "dataref": "r1:blob"})


async def test_a_body_by_reference_is_copied_and_its_blob_is_left(scene: Scene) -> None:
    body = b'{"input":"' + b"x" * 2**20 + b'"}'

    answer = await scene.admit(await with_blob(scene, body))

    stored = await scene.stored()
    assert answer == "waiting"
    assert stored.body(REQUEST) == body
    assert stored.strings[scene.keys.blob("r1:blob")] == body


async def test_a_body_by_reference_and_the_same_inline_are_one_request(scene: Scene) -> None:
    await scene.admit(await with_blob(scene, BODY))

    assert await scene.admit(await scene.ask()) == "duplicate"


@pytest.mark.parametrize("state", ["none", "cancelled_early"])
async def test_a_body_whose_blob_is_gone_ends_the_request(scene: Scene, state: str) -> None:
    await scene.reach(state)

    answer = await scene.admit(await with_blob(scene, None))

    [reply] = (await scene.stored()).replies(ASKER)
    data: Any = from_json(reply["data"])
    if state == "none":
        assert answer == reply["final"] == "rejected"
        assert data["reason"] == FailureReason.INVALID
        assert "dataref" in data["message"]
    else:
        assert answer == reply["final"] == "cancelled"


@pytest.mark.parametrize("fields", [{}, {"data": ""}], ids=["missing", "empty"])
async def test_an_entry_without_data_is_refused_by_its_verdict(
    scene: Scene, fields: dict[str, str]
) -> None:
    entry = await scene.ask({"id": REQUEST, **fields})

    assert await scene.admit(entry, refusal=REFUSAL) == "rejected"


async def test_bytes_that_are_no_text_pass_unchanged(scene: Scene) -> None:
    body = bytes(range(256))

    await scene.admit(await scene.ask({"id": REQUEST, "data": body}))

    assert (await scene.stored()).body(REQUEST) == body


async def test_the_early_mark_goes_away_by_itself(scene: Scene) -> None:
    await scene.end(CANCELLED)

    assert 0 < await scene.client.ttl(scene.keys.request(REQUEST)) <= 3600
