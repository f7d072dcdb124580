"""Engines crash and hang, nodes die and return: the router finds another way, or says why not."""

import asyncio

from shared.events.base import Priority
from shared.events.inference import InferenceAttemptFailed, InferenceDispatched
from shared.events.models import NodeLost, NodeReturned
from tests.fakes.asking import final, said, whole
from tests.journeys import checker
from tests.journeys.conftest import Stage
from tests.waiting import until

LONG = "a b c d e f g h i j"
"""Two seconds of the slow model."""


async def test_a_crashed_engine_is_followed_by_the_next_candidate(stage: Stage) -> None:
    await stage.router()
    await stage.worker("n1")

    end = await stage.asker.answer("one two three", model="", task="crashing")

    assert said(end) == "one two three"
    assert (end.data["model"], end.data["attempt"]) == ("echo", 2)
    failed = await checker.said(stage.client, checker.KEYS.stream(InferenceAttemptFailed))
    assert [entry["data"]["reason"] for entry in failed] == ["crashed"]
    await checker.everything_ended_once(stage.client, stage.asker.asked)


async def test_a_hung_engine_is_followed_by_the_next_candidate(stage: Stage) -> None:
    await stage.router()
    await stage.worker("n1")

    end = await stage.asker.answer("one two three", model="", task="hanging")

    assert (end.data["model"], end.data["attempt"]) == ("echo", 2)
    failed = await checker.said(stage.client, checker.KEYS.stream(InferenceAttemptFailed))
    assert [entry["data"]["reason"] for entry in failed] == ["hung"]


async def test_a_model_that_was_named_is_never_replaced_by_another(stage: Stage) -> None:
    await stage.router()
    await stage.worker("n1")

    end = await stage.asker.answer("one two three", model="crash")

    assert (end.outcome, end.data["reason"]) == ("failed", "attempts_exhausted")
    assert end.data["last_reason"] == "crashed"
    await checker.everything_ended_once(stage.client, stage.asker.asked)


async def test_after_the_first_piece_there_is_no_silent_retry(stage: Stage) -> None:
    await stage.router()
    await stage.worker("n1")

    stream = await stage.asker.ask("one two three", model="", task="crashing", chunks=True)
    pieces, end = await whole(stream)

    assert pieces
    assert (end.outcome, end.data["reason"]) == ("failed", "after_first_byte")
    await checker.everything_ended_once(stage.client, stage.asker.asked)


async def test_what_a_killed_worker_ran_is_run_elsewhere(stage: Stage) -> None:
    await stage.router()
    first = await stage.worker("n1")
    streams = [await stage.asker.ask(LONG, model="slow") for _ in range(4)]
    await stage.running(4)
    await stage.worker("n2")

    first.kill()

    ends = await asyncio.gather(*[final(stream) for stream in streams])
    assert {end.data["node"] for end in ends} == {"n2"}
    await checker.everything_ended_once(stage.client, stage.asker.asked)


async def test_a_restarted_worker_gives_back_what_its_predecessor_ran(stage: Stage) -> None:
    await stage.router()
    first = await stage.worker("n1")
    streams = [await stage.asker.ask(LONG, model="slow") for _ in range(3)]
    await stage.running(3)

    first.kill()
    await stage.worker("n1")

    for end in await asyncio.gather(*[final(stream) for stream in streams]):
        assert (end.outcome, end.data["attempt"]) == ("completed", 2)
    failed = await checker.said(stage.client, checker.KEYS.stream(InferenceAttemptFailed))
    assert {entry["data"]["reason"] for entry in failed} == {"worker_restarted"}
    await checker.everything_ended_once(stage.client, stage.asker.asked)


async def test_a_worker_that_thaws_while_another_has_its_work_changes_nothing(
    stage: Stage,
) -> None:
    await stage.router()
    frozen = await stage.worker("n1")
    streams = [await stage.asker.ask(LONG, model="slow") for _ in range(3)]
    await stage.running(3, "n1")
    await stage.worker("n2")

    frozen.freeze()
    await stage.running(3, "n2")
    frozen.thaw()

    ends = await asyncio.gather(*[final(stream) for stream in streams])
    assert {end.data["node"] for end in ends} == {"n2"}
    assert all(end.data["attempt"] >= 2 for end in ends)
    await stage.settled()


async def test_the_late_answer_of_a_frozen_worker_is_not_heard(stage: Stage) -> None:
    await stage.router()
    frozen = await stage.worker("n1")
    stream = await stage.asker.ask(LONG, model="slow")
    await stage.running(1)
    await stage.worker("n2")

    frozen.freeze()
    end = await final(stream)
    frozen.thaw()

    assert end.data["node"] == "n2"
    returned = checker.KEYS.stream(NodeReturned)
    await until(lambda: stage.client.xlen(returned), timeout_s=10)
    assert await stage.client.xlen(checker.KEYS.stream(NodeLost)) == 1
    assert said(await stage.asker.answer("after all")) == "after all"
    await checker.everything_ended_once(stage.client, stage.asker.asked)


async def test_a_request_waits_while_the_way_to_its_node_is_broken(stage: Stage) -> None:
    await stage.router()
    await stage.worker("n1")
    way = checker.KEYS.stream(InferenceDispatched, "n1")
    await stage.client.delete(way)
    await stage.client.set(way, "of another type")

    stream = await stage.asker.ask("hello", model="echo", deadlinems=60_000)
    waiting = checker.KEYS.waiting(Priority.NORMAL)
    await until(lambda: stage.client.zcard(waiting), timeout_s=15)
    await stage.client.delete(way)

    assert said(await final(stream, 40)) == "hello"
    await stage.settled()
