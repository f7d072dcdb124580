"""The exchange over a real store; the tests play the router and the worker."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis.asyncio

from services.gateway.bus_exchange import BusExchange
from services.gateway.exchange import (
    ReplyDelta,
    ReplyFinal,
    ReplyStream,
    StoreFull,
    Submission,
)
from shared.bus.envelope import Entry, Message
from shared.bus.keys import Keys
from shared.bus.requester import Requester
from shared.bus.tail import tail
from shared.bus.writer import Writer
from shared.config import Timing
from shared.events.base import Operation, Priority
from shared.events.inference import InferenceCancelRequested, InferenceRequested
from shared.events.models import NodeHeartbeat
from tests.fakes.exchange import MODEL
from tests.gateway.conftest import end
from tests.servers import Store
from tests.waiting import until

REQUEST = Submission(
    id="r1",
    input={"messages": [{"role": "user", "content": "Hello"}]},
    operation=Operation.CHAT,
    task="report",
    priority=Priority.HIGH,
    model="qwen-7b",
    deadline_ms=5000,
    max_tokens=100,
    input_bytes=42,
    chunks=True,
    traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
)


class Bench:
    """An exchange, and the store that it works on."""

    def __init__(self, client: redis.asyncio.Redis, keys: Keys) -> None:
        self.client = client
        self.keys = keys
        self.writer = Writer(client)
        self.requester = Requester(client, self.writer, keys, "gateway", "gw-1")
        self.exchange = BusExchange(self.requester, Timing)

    async def inbox(self) -> list[dict[bytes, bytes]]:
        return [fields for _, fields in await self.client.xrange("rh:inference.requested.v1")]

    async def reply(self, **fields: Any) -> None:
        fields = {"request": "r1", "attempt": 1, **fields}
        await self.client.xadd(self.requester.reply_key, fields)

    async def delta(self, seq: int, **delta: str) -> None:
        await self.reply(seq=seq, delta=json.dumps(delta), model="qwen-7b", node="local")

    async def final(self, outcome: str, **data: Any) -> None:
        await self.reply(final=outcome, data=json.dumps(data))


@pytest.fixture
async def bench(client: redis.asyncio.Redis, keys: Keys) -> AsyncIterator[Bench]:
    bench = Bench(client, keys)
    handlers = {bench.requester.reply_key: bench.requester.replies.on_entries}
    reading = asyncio.create_task(tail(client, handlers, lookback_s=0))
    yield bench
    await end(reading)
    await bench.writer.close()


async def heard(stream: ReplyStream) -> list[ReplyDelta | ReplyFinal]:
    async with asyncio.timeout(5):
        return [item async for item in stream]


async def test_a_submission_is_an_entry_with_all_it_says_as_attributes(bench: Bench) -> None:
    await bench.exchange.submit(REQUEST)

    (entry,) = await bench.inbox()
    attributes = {name.decode(): value.decode() for name, value in entry.items() if name != b"data"}
    assert (
        attributes.items()
        >= {
            "id": "r1",
            "type": "inference.requested.v1",
            "operation": "chat",
            "task": "report",
            "priority": "HIGH",
            "model": "qwen-7b",
            "deadlinems": "5000",
            "maxtokens": "100",
            "inputbytes": "42",
            "replyto": "gw-1",
            "replymode": "chunks",
            "traceparent": REQUEST.traceparent,
        }.items()
    )
    assert InferenceRequested.model_validate_json(entry[b"data"]).input == REQUEST.input


async def test_a_reply_is_read_in_pieces_to_its_end(bench: Bench) -> None:
    stream = bench.exchange.open("r1", chunks=True)
    await bench.exchange.submit(REQUEST)
    await bench.delta(0, content="Hel")
    await bench.delta(1, content="lo", reasoning_content="hm")
    await bench.final("completed", request_id="r1")

    assert await heard(stream) == [
        ReplyDelta("Hel", None, 1, "qwen-7b", "local"),
        ReplyDelta("lo", {"reasoning_content": "hm"}, 1, "qwen-7b", "local"),
        ReplyFinal("completed", {"request_id": "r1"}),
    ]


async def test_after_a_gap_only_the_end_follows(bench: Bench) -> None:
    stream = bench.exchange.open("r1", chunks=True)
    await bench.exchange.submit(REQUEST)
    await bench.delta(0, content="a")
    await bench.delta(2, content="c")
    await bench.final("completed")

    pieces, final = (await heard(stream))[:-1], (await heard(stream))[-1:]

    assert [piece.content for piece in pieces if isinstance(piece, ReplyDelta)] == ["a"]
    assert final == []


async def test_who_wants_no_pieces_gets_none(bench: Bench) -> None:
    stream = bench.exchange.open("r1", chunks=False)
    await bench.exchange.submit(REQUEST)
    await bench.delta(0, content="a")
    await bench.final("failed", reason="hung")

    assert await heard(stream) == [ReplyFinal("failed", {"reason": "hung"})]


async def test_closing_a_stream_ends_the_wait_for_it(bench: Bench) -> None:
    stream = bench.exchange.open("r1", chunks=True)
    waiting = asyncio.create_task(heard(stream))
    await until(lambda: bench.requester.replies.all())

    stream.close()

    assert await waiting == []
    assert bench.requester.replies.all() == []


async def test_a_wait_may_be_cancelled_and_repeated(bench: Bench) -> None:
    stream = bench.exchange.open("r1", chunks=True)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await anext(stream)
    await bench.final("cancelled")

    assert await heard(stream) == [ReplyFinal("cancelled", {})]


async def test_a_request_is_known_from_its_submission_to_its_end(bench: Bench) -> None:
    assert await bench.exchange.state("r1") is None

    await bench.exchange.submit(REQUEST)
    submitted = await bench.exchange.state("r1")
    record = {
        "state": "running",
        "admitted_ms": 1000,
        "deadline_ms": 6000,
        "node": "n",
        "attempt": 2,
    }
    await bench.client.hset("rh:request:r1", mapping=record)
    running = await bench.exchange.state("r1")
    await bench.client.hset("rh:request:r1", mapping={"state": "final", "outcome": "failed"})
    await bench.client.set("rh:result:r1", '{"outcome":"failed","data":{"reason":"hung"}}')
    ended = await bench.exchange.state("r1")

    assert submitted is not None
    assert submitted.state == "submitted"
    assert running is not None
    assert (running.state, running.node, running.attempt) == ("running", "n", 2)
    assert (running.timestamps_ms, running.deadline_s) == ({"admitted": 1000}, 5.0)
    assert ended is not None
    assert (ended.state, ended.result) == ("failed", {"reason": "hung"})


async def test_cancelling_is_an_event(bench: Bench) -> None:
    await bench.exchange.cancel("r1", "asked")

    ((_, entry),) = await bench.client.xrange(f"rh:{InferenceCancelRequested.type}")
    assert json.loads(entry[b"data"]) == {"request_id": "r1", "reason": "asked"}


async def test_a_full_store_takes_nothing_new(own_store: Store, keys: Keys) -> None:
    async with redis.asyncio.Redis.from_url(own_store.url, protocol=2) as client:
        await client.config_set("maxmemory", "1mb")
        bench = Bench(client, keys)

        with pytest.raises(StoreFull):
            await bench.exchange.submit(REQUEST)
        await bench.writer.close()


async def test_the_catalogue_holds_the_models_of_nodes_that_are_heard(bench: Bench) -> None:
    def beat(node: str) -> Message[NodeHeartbeat]:
        heartbeat = NodeHeartbeat(
            node=node, instance="i", inventory=(MODEL,), resident=(), in_flight=0
        )
        return Message(heartbeat, Entry("", "0-0", {}))

    silent = BusExchange(bench.requester, lambda: Timing(node_lost_s=1e-9))
    for exchange in (bench.exchange, silent):
        await exchange.on_heartbeat(beat("a"))
        await exchange.on_heartbeat(beat("b"))
        await exchange.on_heartbeat(beat("b"))

    assert bench.exchange.catalogue() == [MODEL, MODEL]
    assert silent.catalogue() == []
