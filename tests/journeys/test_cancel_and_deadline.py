"""Requests that end early: somebody no longer wants the answer, or its time is over."""

import asyncio
import re

from services.router.policy.durations import SEEN
from shared.bus.ids import request_id
from shared.events.inference import InferenceRouted
from tests.fakes.asking import final
from tests.journeys import checker
from tests.journeys.conftest import Stage
from tests.waiting import until

WORD_MS = 200
"""That the slow model takes for a word."""
MINUTE = " ".join(["word"] * 300)
"""A minute of the slow model."""


async def test_a_waiting_request_is_cancelled_at_once(stage: Stage) -> None:
    await stage.router()
    await stage.worker("n1", slots=1)
    running = await stage.asker.ask(MINUTE, model="slow")
    waiting = await stage.asker.ask("never runs", model="slow")

    await stage.asker.requester.cancel(waiting.request_id, "changed my mind")

    end = await final(waiting)
    assert (end.outcome, end.data["message"]) == ("cancelled", "changed my mind")
    await stage.asker.requester.cancel(running.request_id, "and that one")
    assert (await final(running)).outcome == "cancelled"
    await _settled(stage)


async def test_a_running_request_is_cancelled_and_its_slot_is_free_again(stage: Stage) -> None:
    await stage.router()
    await stage.worker("n1", slots=1)
    running = await stage.asker.ask(MINUTE, model="slow")
    await until(lambda: stage.client.xlen(checker.KEYS.stream(InferenceRouted)))

    await stage.asker.requester.cancel(running.request_id, "enough")

    assert (await final(running)).outcome == "cancelled"
    assert (await stage.asker.answer("next", model="slow")).outcome == "completed"
    await _settled(stage)


async def test_a_cancellation_that_comes_before_its_request_still_counts(stage: Stage) -> None:
    await stage.router()
    await stage.worker("n1")
    early = request_id()

    await stage.asker.requester.cancel(early, "too late to ask")
    record = checker.KEYS.request(early)
    await until(lambda: stage.client.exists(record))
    stage.asker.asked.append(early)
    stream = await stage.asker.ask("never runs", again=early)

    assert (await final(stream)).outcome == "cancelled"
    await _settled(stage)


async def test_a_deadline_ends_a_request_that_waits(stage: Stage) -> None:
    await stage.router()
    await stage.worker("n1", slots=1)
    running = await stage.asker.ask(MINUTE, model="slow")

    late = await stage.asker.answer("never runs", model="slow", deadlinems=300)

    assert (late.outcome, late.data["reason"]) == ("failed", "deadline")
    await stage.asker.requester.cancel(running.request_id, "done")
    await final(running)
    await _settled(stage)


async def test_a_deadline_ends_a_request_that_runs(stage: Stage) -> None:
    await stage.router()
    await stage.worker("n1")

    late = await stage.asker.answer(MINUTE, model="slow", deadlinems=800)

    assert (late.outcome, late.data["reason"]) == ("failed", "deadline")
    await _settled(stage)


async def test_who_cannot_end_before_its_deadline_does_not_begin_and_is_told_at_once(
    stage: Stage,
) -> None:
    await stage.router()
    await stage.worker("n1")
    for _ in range(SEEN // 4):
        alike = [stage.asker.answer("three words each", model="slow") for _ in range(4)]
        assert {end.outcome for end in await asyncio.gather(*alike)} == {"completed"}

    long = await stage.asker.ask("a b c d e f g h", model="slow")  # alone one would be tried
    await stage.running(SEEN // 4 * 4 + 1)
    late = await stage.asker.answer("three words more", model="slow", deadlinems=3 * WORD_MS - 50)
    in_time = await stage.asker.answer("three words more", model="slow", deadlinems=60_000)

    assert (late.outcome, late.data["reason"], late.data["attempts"]) == ("failed", "deadline", 0)
    assert re.fullmatch(
        r"too late to begin: \d+ ms are left, and slow on n1 took \d+ ms or more for each of "
        r"the last 20 of its size; give it more time or a higher priority",
        late.data["message"],
    )
    assert in_time.outcome == (await final(long)).outcome == "completed"
    await _settled(stage)


async def _settled(stage: Stage) -> None:
    async def nothing_flies() -> bool:
        return await stage.client.zcard(checker.KEYS.flight) == 0

    await until(nothing_flies)
    await checker.everything_ended_once(stage.client, stage.asker.asked)
