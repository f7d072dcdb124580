"""The plain journeys: somebody asks, somebody answers."""

import json

from shared.events.inference import InferenceRejected
from tests.fakes.asking import final, said, whole, xadd
from tests.journeys import checker
from tests.journeys.conftest import Stage
from tests.waiting import until


async def test_a_raw_entry_with_nothing_but_data_is_answered(stage: Stage) -> None:
    await stage.router()
    await stage.worker("n1")

    entry = await xadd(stage.client, json.dumps({"model": "echo", "input": "hello out there"}))

    async def is_completed() -> bool:
        return (await checker.finals(stage.client))[entry] == 1

    await until(is_completed)
    await checker.everything_ended_once(stage.client, [entry])


async def test_pieces_arrive_in_order_before_the_end(stage: Stage) -> None:
    await stage.router()
    await stage.worker("n1")

    pieces, end = await whole(
        await stage.asker.ask("one two three four", model="slow", chunks=True)
    )

    assert "".join(piece.delta["content"] for piece in pieces) == "one two three four"
    assert [piece.seq for piece in pieces] == list(range(len(pieces)))
    assert len(pieces) > 1
    assert pieces[0].model == "slow"
    assert end.outcome == "completed"
    assert end.complete


async def test_what_nobody_offers_is_refused_by_its_reason(stage: Stage) -> None:
    await stage.router()
    await stage.worker("n1")

    unknown = await stage.asker.answer(model="no-such-model")
    no_task = await stage.asker.answer(model="", task="no-such-task")

    assert (unknown.outcome, unknown.data["reason"]) == ("rejected", "unknown_model")
    assert (no_task.outcome, no_task.data["reason"]) == ("rejected", "unknown_task")
    await checker.everything_ended_once(stage.client, stage.asker.asked)


async def test_a_repeated_request_gets_the_first_answer_and_runs_once(stage: Stage) -> None:
    await stage.router()
    await stage.worker("n1")
    first = await stage.asker.ask("only once", model="slow")

    second = await stage.asker.ask("only once", model="slow", again=first.request_id)

    assert said(await final(first)) == said(await final(second)) == "only once"
    third = await stage.asker.answer("only once", model="slow", again=first.request_id)
    assert said(third) == "only once"
    await checker.everything_ended_once(stage.client, stage.asker.asked)


async def test_other_content_under_a_taken_id_is_refused_and_the_first_untouched(
    stage: Stage,
) -> None:
    await stage.router()
    await stage.worker("n1")
    first = await stage.asker.ask("the first", model="slow")

    second = await stage.asker.ask("something else", model="slow", again=first.request_id)

    assert (await final(second)).data["reason"] == "conflict"
    assert said(await final(first)) == "the first"
    rejected = await checker.said(stage.client, checker.KEYS.stream(InferenceRejected))
    assert [entry["subject"].split("#")[0] for entry in rejected] == [first.request_id]
    await checker.everything_ended_once(stage.client, stage.asker.asked)
