"""What a careless or hostile producer writes never keeps the router from its work."""

import json

import pytest

from shared.bus.configuration import store_configuration
from shared.config import Timing
from shared.events.inference import InferenceCancelRequested, InferenceRejected
from shared.events.operations import DeadLetter
from tests.fakes.asking import INBOX, said
from tests.journeys import checker
from tests.journeys.conftest import CONFIG, Stage
from tests.waiting import until

HELLO = json.dumps({"model": "echo", "input": "hello"})
MANY = {f"field{number}": "x" for number in range(4100)}


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "order/17", "data": HELLO},
        {"id": "a" * 65, "data": HELLO},
        {"id": "two words", "data": HELLO},
        {"id": b"\xff\xfe", "data": HELLO},
        {"data": b"\xff\xfe"},
        {"data": "[]"},
        {"nothing": "at all"},
        {"data": HELLO, "priority": "SOON"},
        {"data": HELLO, "deadlinems": "-1"},
        {"data": HELLO, "replyto": "a" * 49},
        {"data": HELLO, "replyto": "not-a-stream"},
        {"dataref": "not-a-body"},
        {**MANY, "data": HELLO},
        {**MANY, "id": "order/18", "data": HELLO},
    ],
    ids=[
        *("slash", "long id", "space", "id of bytes", "data of bytes", "list", "no data"),
        *("unknown priority", "negative deadline", "long replyto", "replyto a string"),
        "body a list",
        *("many fields", "many fields and a slash"),
    ],
)
async def test_an_odd_entry_is_a_dead_letter_and_the_next_request_is_answered(
    stage: Stage, fields: dict[str, str | bytes]
) -> None:
    await stage.client.set("rh:reply:not-a-stream", "a string")
    await stage.client.rpush("rh:blob:not-a-body", "a list")
    patient = CONFIG.model_copy(update={"timing": Timing(router_lease_s=30.0)})
    await store_configuration(stage.client, checker.KEYS, patient, "test")
    router = await stage.router()
    await stage.worker("n1")

    await stage.client.xadd(INBOX, fields)

    assert said(await stage.asker.answer("after it")) == "after it"
    letters = checker.KEYS.stream(DeadLetter)
    if "field1" not in fields or "id" in fields:
        await until(lambda: stage.client.xlen(letters))
    token = await stage.client.get(checker.KEYS.fence("router"))
    assert token.startswith(b"1:"), router.log.read_text()


async def test_an_odd_cancellation_is_a_dead_letter_and_the_next_one_counts(stage: Stage) -> None:
    await stage.router()
    await stage.worker("n1")
    await stage.client.xadd(checker.KEYS.stream(InferenceCancelRequested), {"data": "{}", **MANY})

    waiting = await stage.asker.ask("never ends " * 200, model="slow")
    await stage.asker.requester.cancel(waiting.request_id, "enough")

    reply = [each async for each in waiting][-1]
    assert reply.outcome == "cancelled"


async def test_an_unreadable_request_with_a_readable_id_is_also_refused(stage: Stage) -> None:
    await stage.router()
    await stage.worker("n1")

    await stage.client.xadd(INBOX, {"id": "fine-id", "data": "no json"})

    rejected = checker.KEYS.stream(InferenceRejected)
    await until(lambda: stage.client.xlen(rejected))
    [refusal] = await checker.said(stage.client, rejected)
    assert (refusal["subject"], refusal["data"]["reason"]) == ("fine-id", "invalid")


@pytest.mark.parametrize("letters", [100_000, 300_000], ids=["in its entry", "elsewhere"])
async def test_a_body_is_measured_whatever_its_producer_says_of_it(
    stage: Stage, letters: int
) -> None:
    await stage.router()
    await stage.worker("n1")

    end = await stage.asker.answer("x" * letters, inputbytes=1)

    assert (end.outcome, end.data["reason"]) == ("rejected", "context_exceeded")
    assert "shorten it" in end.data["message"]
