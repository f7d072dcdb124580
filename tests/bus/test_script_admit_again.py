"""`admit` where the id is known: the same content shares the answer, other content is refused."""

from typing import Any

import pytest
from pydantic_core import from_json

from shared.bus.ids import final_id
from shared.bus.records import ROUTER
from shared.events.inference import FailureReason, InferenceRejected, InferenceRequested
from tests.bus.facts import ASKER, BODY, REQUEST
from tests.bus.scene import FINAL, HOLDING, STATES, Scene

OTHER_BODY = b'{"input":"something else"}'
ALIVE = [each for each in STATES if each not in ("none", "cancelled_early", *FINAL, *HOLDING)]
ENDED = [*FINAL, *HOLDING]
KNOWN = [*ALIVE, *ENDED]


def asked(replyto: str = ASKER, data: bytes = BODY) -> dict[str, str | bytes]:
    return {"id": REQUEST, "replyto": replyto, "data": data}


@pytest.mark.parametrize("state", ALIVE)
async def test_a_second_asker_waits_for_the_same_answer(scene: Scene, state: str) -> None:
    before = await scene.reach(state)

    answer = await scene.admit(await scene.ask(asked("other")))

    after = await scene.stored()
    assert answer == "duplicate"
    assert after.waiters(REQUEST) == ["other"]
    assert after.records() == before.records()
    assert after.zsets == before.zsets
    assert after.stream(InferenceRequested).pending == {ROUTER: []}


@pytest.mark.parametrize("replyto", [ASKER, ""], ids=["same", "none"])
async def test_asking_again_without_a_new_asker_changes_nothing(scene: Scene, replyto: str) -> None:
    before = await scene.reach("running")

    answer = await scene.admit(await scene.ask(asked(replyto)))

    after = await scene.stored()
    assert answer == "duplicate"
    assert (after.hashes, after.zsets, after.lists) == (before.hashes, before.zsets, before.lists)


async def test_a_waiter_that_asks_twice_is_answered_once(scene: Scene) -> None:
    await scene.reach("running")

    await scene.admit(await scene.ask(asked("other")))
    await scene.admit(await scene.ask(asked("other")))
    await scene.complete()

    assert len((await scene.stored()).replies("other")) == 1


async def test_everybody_who_waits_gets_the_final_answer(scene: Scene) -> None:
    await scene.reach("running")
    await scene.admit(await scene.ask(asked("other")))
    await scene.admit(await scene.ask(asked("third")))

    await scene.complete()

    stored = await scene.stored()
    assert stored.replies("other") == stored.replies("third") == stored.replies(ASKER)


@pytest.mark.parametrize("state", ENDED)
async def test_a_duplicate_of_an_ended_request_gets_its_result(scene: Scene, state: str) -> None:
    before = await scene.reach(state)

    answer = await scene.admit(await scene.ask(asked("late")))

    after = await scene.stored()
    assert answer == "duplicate"
    assert after.replies("late") == before.replies(ASKER)[-1:]
    assert after.hashes == before.hashes
    assert after.zsets == before.zsets


@pytest.mark.parametrize("state", KNOWN)
async def test_other_content_under_a_known_id_is_a_conflict(scene: Scene, state: str) -> None:
    before = await scene.reach(state)
    entry = await scene.ask(asked("other", OTHER_BODY))

    answer = await scene.admit(entry)

    after = await scene.stored()
    subject = f"{REQUEST}#{entry.id}"
    [reply] = after.replies("other")
    assert answer == "conflict"
    assert (after.hashes, after.zsets, after.lists) == (before.hashes, before.zsets, before.lists)
    assert after.body(REQUEST) == before.body(REQUEST)
    assert reply["request"] == subject
    rejected = after.events(InferenceRejected)[-1]
    assert rejected["id"] == final_id(subject)
    assert from_json(rejected["data"])["reason"] == FailureReason.CONFLICT
    assert after.stream(InferenceRequested).pending == {ROUTER: []}


async def test_the_same_body_for_another_purpose_is_a_conflict(scene: Scene) -> None:
    await scene.reach("waiting")

    assert await scene.admit(await scene.ask(), asked="report") == "conflict"


@pytest.mark.parametrize(
    "decided", [{"task": "report"}, {"model": "m2"}, {"chain": ("m3",)}], ids=lambda each: [*each]
)
async def test_another_decision_about_the_same_question_is_no_conflict(
    scene: Scene, decided: dict[str, Any]
) -> None:
    await scene.reach("waiting")

    assert await scene.admit(await scene.ask(), **decided) == "duplicate"


async def test_a_conflict_without_reply_stream_is_only_published(scene: Scene) -> None:
    before = await scene.reach("waiting")

    await scene.admit(await scene.ask(asked("", OTHER_BODY)))

    after = await scene.stored()
    assert len(after.events(InferenceRejected)) == 1
    assert after.streams.keys() - before.streams.keys() == {scene.keys.stream(InferenceRejected)}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("data", [BODY, OTHER_BODY], ids=["same", "other"])
async def test_admitting_an_entry_twice_is_admitting_it_once(
    scene: Scene, state: str, data: bytes
) -> None:
    await scene.reach(state)
    entry = await scene.ask(asked("other", data))
    await scene.admit(entry)
    before = await scene.stored()

    await scene.admit(entry)

    assert await scene.stored() == before
