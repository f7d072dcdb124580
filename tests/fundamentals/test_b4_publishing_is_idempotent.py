"""B4: publishing is idempotent.

Who publishes over a bad network cannot know whether it worked, and asks again. Events are
published once however often they are asked for; a request may stand in the inbox twice, but is
admitted once.
"""

import asyncio
from typing import Any

import redis.asyncio

from shared.bus.bus import Bus
from shared.bus.connection import patiently
from shared.bus.keys import Keys
from shared.events.inference import InferenceCompleted, InferenceRejected
from shared.settings import ServiceSettings
from tests.fakes.asking import INBOX, asking, final
from tests.fakes.processes import router, worker
from tests.fakes.proxy import lossy_proxy
from tests.fundamentals.parcels import POSTED, ParcelPosted
from tests.fundamentals.tour import Open
from tests.servers import Store

Client = redis.asyncio.Redis


async def test_a_thousand_events_over_a_lossy_network_are_a_thousand(
    own_store: Store, configured: Client
) -> None:
    async with lossy_proxy(own_store.port) as network:
        bus = Bus("shop", ServiceSettings(redis_url=network.url), publishes=(ParcelPosted,))

        async def publish(number: int) -> None:
            event = ParcelPosted(parcel=str(number))
            await patiently(lambda: bus.publish(event), "publish")

        for first in range(0, 1000, 5):
            await asyncio.gather(*[publish(first + number) for number in range(5)])
        await bus.stop()

    rows: Any = await configured.xrange(POSTED)
    published = [ParcelPosted.model_validate_json(fields[b"data"]).parcel for _, fields in rows]
    assert sorted(published, key=int) == [str(number) for number in range(1000)]
    assert network.cut > 10


async def test_requests_over_a_lossy_network_are_answered_once_each(
    own_store: Store, configured: Client, opened: Open, settings: dict[str, Any]
) -> None:
    await opened(router(**settings))
    await opened(worker(models=("echo",), slots=50, **settings))

    async with lossy_proxy(own_store.port) as network, asking(network.url) as asker:
        streams = [await asker.ask(f"number {number}") for number in range(200)]
        answers = [await final(stream) for stream in streams]

    assert [answer.outcome for answer in answers] == ["completed"] * 200
    rows: Any = await configured.xrange(Keys().stream(InferenceCompleted))
    assert sorted(fields[b"subject"].decode() for _, fields in rows) == sorted(asker.asked)
    assert network.cut > 10


async def test_the_same_fact_is_one_event_and_another_occasion_another(
    configured: Client, settings: dict[str, Any]
) -> None:
    bus = Bus("shop", ServiceSettings(**settings), publishes=(ParcelPosted,))
    event = ParcelPosted(parcel="once")

    await bus.publish(event)
    await bus.publish(event)
    assert await configured.xlen(POSTED) == 1

    await bus.publish(event, ordinal="again")
    assert await configured.xlen(POSTED) == 2
    await bus.stop()


async def test_a_repeated_request_joins_the_first_and_other_content_is_a_conflict(
    own_store: Store, configured: Client, opened: Open, settings: dict[str, Any]
) -> None:
    await opened(router(**settings))
    await opened(worker(models=("slow", "echo"), slots=4, **settings))

    async with asking(own_store.url) as asker, asking(own_store.url, "other") as other:
        first = await asker.ask("one two", model="slow")
        second = await other.ask("one two", model="slow", again=first.request_id)
        forger = await asker.ask("something else", model="slow", again=first.request_id)

        refused = await final(forger)
        assert (refused.outcome, refused.data["reason"]) == ("rejected", "conflict")
        assert (await final(first)).data == (await final(second)).data

    rejections: Any = await configured.xrange(Keys().stream(InferenceRejected))
    [(_, rejection)] = rejections
    assert rejection[b"subject"].decode().startswith(f"{first.request_id}#")
    assert await configured.xlen(INBOX) == 3
