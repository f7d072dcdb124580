"""Producers that have streams of their own: whoever may write one is the principal."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis.asyncio
from redis.exceptions import NoPermissionError

from shared.bus.configuration import store_configuration
from shared.events.inference import (
    InferenceCancelled,
    InferenceCompleted,
    InferenceRejected,
    InferenceRequested,
)
from shared.events.operations import DeadLetter
from tests.fakes.asking import INBOX
from tests.fakes.processes import Child
from tests.journeys import checker
from tests.journeys.conftest import CONFIG, Stage
from tests.waiting import until

HELLO = json.dumps({"model": "echo", "input": "hello"})
CRM = checker.KEYS.stream(InferenceRequested, "crm")
RULES = (
    "resetchannels",
    *(f"~{CRM}", f"%R~{checker.KEYS.reply('crm')}"),
    *("+xadd", "+xread"),
)
"""What such a producer may do: write its own inbox, read its own answers."""


@pytest.fixture
async def crm(stage: Stage) -> AsyncIterator[redis.asyncio.Redis]:
    """A connection with a key of its own."""
    await stage.client.execute_command("ACL", "SETUSER", "crm", "on", ">secret", *RULES)
    url = stage.store.url.replace("//", "//crm:secret@")
    async with redis.asyncio.Redis.from_url(url, protocol=2, decode_responses=True) as client:
        yield client


async def configure(stage: Stage, *producers: str) -> None:
    config = CONFIG.model_copy(update={"producers": producers})
    await store_configuration(stage.client, checker.KEYS, config, "test")


async def ended(stage: Stage, event: Any, count: int = 1) -> list[checker.Entry]:
    """All final events of that kind, once there are so many."""
    stream = checker.KEYS.stream(event)

    async def said() -> bool:
        return await stage.client.xlen(stream) >= count

    await until(said, timeout_s=20)
    return await checker.said(stage.client, stream)


async def test_it_is_the_principal_whatever_its_entry_says(
    stage: Stage, crm: redis.asyncio.Redis
) -> None:
    await configure(stage, "crm")
    await stage.router()
    await stage.worker("n1")
    data = {"model": "echo", "input": "hello", "principal": "boss"}
    claims: Any = {"principal": "boss", "tenant": "boss", "subject": "boss", "replyto": "crm"}

    await crm.xadd(CRM, {**claims, "id": "ticket-1", "data": json.dumps(data)})
    replies: Any = await crm.xread({checker.KEYS.reply("crm"): "0"}, block=20_000)
    with pytest.raises(NoPermissionError):
        await crm.xadd(INBOX, {"data": HELLO})
    await stage.client.xadd(INBOX, {**claims, "id": "shared-1", "data": json.dumps(data)})

    assert replies[0][1][-1][1]["final"] == "completed"
    finals = await ended(stage, InferenceCompleted, 2)
    assert {entry["subject"]: entry["principal"] for entry in finals} == {
        "ticket-1": "crm",
        "shared-1": "local",
    }
    await checker.everything_ended_once(stage.client, ["ticket-1", "shared-1"])


async def test_what_cannot_be_read_is_refused_in_its_name(stage: Stage) -> None:
    await configure(stage, "crm")
    await stage.router()
    await stage.worker("n1")

    await stage.client.xadd(CRM, {"id": "odd-1", "principal": "boss", "data": "no json"})

    [refusal] = await ended(stage, InferenceRejected)
    [letter] = await ended(stage, DeadLetter)
    assert (refusal["subject"], refusal["principal"]) == ("odd-1", "crm")
    assert letter["data"]["origin"] == f"{InferenceRequested.type}:crm"


async def test_it_cancels_like_everybody(stage: Stage) -> None:
    await configure(stage, "crm")
    await stage.router()
    await stage.worker("n1")
    endless = json.dumps({"model": "slow", "input": "never ends " * 200})
    await stage.client.xadd(CRM, {"id": "long-1", "data": endless})
    await stage.running(1)

    await stage.asker.requester.cancel("long-1", "enough")

    [cancelled] = await ended(stage, InferenceCancelled)
    assert (cancelled["subject"], cancelled["principal"]) == ("long-1", "crm")


async def test_what_a_leader_had_read_from_it_is_its_successor_s(stage: Stage) -> None:
    await configure(stage, "crm")
    await stage.client.xgroup_create(CRM, "router", id="0", mkstream=True)
    await stage.client.xadd(CRM, {"id": "read-1", "data": HELLO})
    taken = await stage.client.xreadgroup("router", "router", {CRM: ">"})
    assert taken

    await stage.router()
    await stage.worker("n1")

    [completed] = await ended(stage, InferenceCompleted)
    assert (completed["subject"], completed["principal"]) == ("read-1", "crm")
    assert (await stage.client.xpending(CRM, "router"))["pending"] == 0


async def test_the_configuration_says_who_is_heard_while_the_router_leads(stage: Stage) -> None:
    await configure(stage, "crm")
    router = await stage.router()
    await stage.worker("n1")
    shop = checker.KEYS.stream(InferenceRequested, "shop")
    await stage.client.xadd(shop, {"id": "early-1", "data": HELLO})
    await stage.client.xadd(CRM, {"id": "ticket-1", "data": HELLO})
    assert len(await ended(stage, InferenceCompleted)) == 1

    await configure(stage, "shop")
    assert len(await ended(stage, InferenceCompleted, 2)) == 2, "also what was there before"
    await until(lambda: "inbox_closed" in router.log.read_text(), timeout_s=20)
    await stage.client.xadd(CRM, {"id": "ticket-2", "data": HELLO})
    await stage.client.xadd(shop, {"id": "order-1", "data": HELLO})

    finals = await ended(stage, InferenceCompleted, 3)
    assert [entry["subject"] for entry in finals] == ["ticket-1", "early-1", "order-1"]
    assert router.log.read_text().count('"event": "leading"') == 1
    assert await unread(stage, CRM) == 1


async def test_a_key_that_is_no_stream_holds_up_nobody_else(stage: Stage) -> None:
    await stage.client.set(CRM, "a string")
    await configure(stage, "crm", "shop")
    router = await stage.router()
    await stage.worker("n1")
    shop = checker.KEYS.stream(InferenceRequested, "shop")
    await stage.client.xadd(shop, {"id": "order-1", "data": HELLO})
    await stage.client.xadd(INBOX, {"id": "shared-1", "data": HELLO})

    assert len(await ended(stage, InferenceCompleted, 2)) == 2

    async def is_named() -> bool:
        return f"{CRM} is no stream" in await lacks(router)

    async def is_mended() -> bool:
        return await lacks(router) == ""

    await until(is_named, timeout_s=20)
    await stage.client.delete(CRM)
    await stage.client.xadd(CRM, {"id": "ticket-1", "data": HELLO})

    assert len(await ended(stage, InferenceCompleted, 3)) == 3
    await until(is_mended, timeout_s=20)


async def unread(stage: Stage, stream: str) -> int:
    [group] = await stage.client.xinfo_groups(stream)
    return int(group["lag"])


async def lacks(router: Child) -> str:
    """What /ready says is wrong, as text; "" where nothing is."""
    answer = await router.ready()
    assert answer is not None
    return "" if answer["status"] == 200 else json.dumps(answer["checks"])
