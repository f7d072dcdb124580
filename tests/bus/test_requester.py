"""Asking: published once or refused plainly, heard, found again, and told where it was lost."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from pydantic_core import from_json
from redis.asyncio import Redis

from shared.bus.connection import make_client
from shared.bus.envelope import Entry
from shared.bus.keys import Keys
from shared.bus.replies import ReplyFinal
from shared.bus.requester import INLINE_BYTES, Requester, StoreFullError, StoreUnavailableError
from shared.bus.writer import Writer
from shared.events.inference import FailureReason, InferenceCancelRequested, InferenceRequested
from tests.bus.facts import BODY, REQUEST
from tests.bus.scene import Scene
from tests.bus.stored import read
from tests.servers import Store
from tests.waiting import until

EXTENSIONS = {"task": "chat", "priority": "HIGH", "replyto": "asker"}


@pytest.fixture
def requester(client: Redis, writer: Writer, keys: Keys) -> Requester:
    return Requester(client, writer, keys, "gateway", "asker")


@pytest.fixture
async def sweeping(
    requester: Requester, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Requester]:
    """A requester that looks after its open requests every 50 ms."""
    monkeypatch.setattr("shared.bus.requester.SWEEP_S", 0.05)
    task = asyncio.create_task(requester.sweep())
    yield requester
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def end_of(requester: Requester, entry_id: str | None = None) -> ReplyFinal:
    stream = requester.open(REQUEST, chunks=True)
    stream.entry_id = entry_id
    async with asyncio.timeout(5):
        reply = await stream.get()
    assert isinstance(reply, ReplyFinal)
    return reply


async def test_a_request_is_an_entry_with_its_attributes_and_its_body(
    requester: Requester, client: Redis, keys: Keys
) -> None:
    stream = requester.open(REQUEST, chunks=True)

    entry_id = await requester.publish(REQUEST, BODY, EXTENSIONS, stream)

    stored, _ = await read(client, keys)
    fields = stored.stream(InferenceRequested).entries[entry_id]
    assert stream.entry_id == entry_id
    assert fields.pop("time")
    assert fields == {
        **{"specversion": "1.0", "id": REQUEST, "type": "inference.requested.v1"},
        **{"source": "gateway", "subject": REQUEST, "data": BODY.decode()},
        **EXTENSIONS,
    }
    assert requester.reply_key == keys.reply("asker")


@pytest.mark.parametrize("size", [INLINE_BYTES, INLINE_BYTES + 1], ids=["inline", "apart"])
async def test_a_large_body_is_stored_beside_its_entry(
    requester: Requester, client: Redis, keys: Keys, size: int
) -> None:
    body = b"x" * size

    entry_id = await requester.publish(REQUEST, body, EXTENSIONS)

    stored, _ = await read(client, keys)
    fields = stored.stream(InferenceRequested).entries[entry_id]
    if size <= INLINE_BYTES:
        assert (fields["data"].encode(), stored.strings) == (body, {})
    else:
        assert stored.strings == {keys.blob(fields["dataref"]): body}
        assert "data" not in fields
        assert len(fields["dataref"]) < 64


async def test_a_large_body_that_is_published_twice_is_one_request(
    scene: Scene, requester: Requester
) -> None:
    body = b'{"input":"' + b"x" * INLINE_BYTES + b'"}'
    await requester.publish(REQUEST, body, {"replyto": "asker"})
    await requester.publish(REQUEST, body, {"replyto": "asker"})

    first, second = [await scene.read_inbox() for _ in range(2)]

    assert first.fields[b"dataref"] != second.fields[b"dataref"]
    assert await scene.admit(first) == "waiting"
    assert await scene.admit(second) == "duplicate"


@pytest.fixture
async def full(client: Redis) -> AsyncIterator[None]:
    await client.config_set("maxmemory", 1)
    yield
    await client.config_set("maxmemory", 0)


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("size", [1, INLINE_BYTES + 1], ids=["inline", "apart"])
async def test_a_full_store_refuses_work_and_takes_cancellations(
    requester: Requester, client: Redis, keys: Keys, size: int
) -> None:
    with pytest.raises(StoreFullError):
        await requester.publish(REQUEST, b"x" * size, EXTENSIONS)

    await requester.cancel(REQUEST, "gone")

    stored, _ = await read(client, keys)
    [cancel] = stored.events(InferenceCancelRequested)
    assert from_json(cancel["data"]) == {"request_id": REQUEST, "reason": "gone"}
    assert stored.events(InferenceRequested) == []


async def test_two_cancellations_are_two_events(
    requester: Requester, client: Redis, keys: Keys
) -> None:
    await requester.cancel(REQUEST, "gone")
    await requester.cancel(REQUEST, "gone")

    stored, _ = await read(client, keys)
    assert len({cancel["id"] for cancel in stored.events(InferenceCancelRequested)}) == 2


async def test_a_request_is_looked_up_at_every_stage(scene: Scene, requester: Requester) -> None:
    assert await requester.look_up(REQUEST) is None

    await scene.reach("waiting")
    waiting = await requester.look_up(REQUEST)
    assert waiting is not None
    assert (waiting.record["state"], waiting.result) == ("waiting", None)

    await scene.dispatch()
    await scene.start()
    await scene.complete()
    completed = await requester.look_up(REQUEST)
    assert completed is not None
    assert completed.record["outcome"] == "completed"
    assert completed.result is not None
    assert completed.result["output"] == {"choices": [{"text": "hi"}]}


async def test_a_sweep_finds_the_end_that_was_missed(scene: Scene, sweeping: Requester) -> None:
    await scene.reach("failed")

    end = await end_of(sweeping, scene.entry.id)

    assert (end.outcome, end.complete) == ("failed", False)
    assert end.data["reason"] == FailureReason.ATTEMPTS_EXHAUSTED


async def test_a_sweep_finds_a_request_that_the_store_lost(
    scene: Scene, sweeping: Requester
) -> None:
    await scene.reach("running")
    await scene.client.flushall()

    end = await end_of(sweeping, scene.entry.id)

    assert (end.outcome, end.data["reason"]) == ("failed", FailureReason.STORE_LOST)


async def test_a_request_that_still_waits_in_the_inbox_is_not_lost(
    scene: Scene, sweeping: Requester
) -> None:
    waits = sweeping.open(REQUEST, chunks=False)
    waits.entry_id = (await scene.ask()).id
    lost = sweeping.open("lost", chunks=False)
    lost.entry_id = "1-0"

    async with asyncio.timeout(5):
        await lost.get()

    assert not waits.ended


async def test_a_request_that_goes_on_is_left_alone_by_the_sweep(
    scene: Scene, sweeping: Requester
) -> None:
    await scene.reach("running")
    runs, lost = sweeping.open(REQUEST, chunks=False), sweeping.open("lost", chunks=False)
    runs.entry_id, lost.entry_id = scene.entry.id, "1-0"

    async with asyncio.timeout(5):
        await lost.get()

    assert not runs.ended


async def test_what_was_heard_is_dropped_by_the_sweep(client: Redis, sweeping: Requester) -> None:
    pipeline = client.pipeline()
    for _ in range(500):
        pipeline.xadd(sweeping.reply_key, {"request": REQUEST, "final": "failed", "data": "{}"})
    ids = await pipeline.execute()

    await sweeping.replies.on_entries([Entry(sweeping.reply_key, ids[-1].decode(), {})])

    async def is_short() -> bool:
        return int(await client.xlen(sweeping.reply_key)) < 200

    condition: Callable[[], Awaitable[bool] | bool] = is_short
    await until(condition)
    assert await client.xrange(sweeping.reply_key, ids[-1], ids[-1])


async def test_a_request_that_was_not_published_yet_is_not_lost(sweeping: Requester) -> None:
    unpublished, lost = sweeping.open(REQUEST, chunks=False), sweeping.open("lost", chunks=False)
    lost.entry_id = "1-0"

    async with asyncio.timeout(5):
        await lost.get()

    assert not unpublished.ended


@asynccontextmanager
async def away(store: Store, keys: Keys) -> AsyncIterator[Requester]:
    """A requester whose store is not there."""
    client = make_client(store.url)
    writer = Writer(client)
    store.kill()
    yield Requester(client, writer, keys, "gateway", "asker")
    await writer.close()
    await client.aclose()


async def test_a_store_that_comes_back_in_time_gets_the_request(
    own_store: Store, keys: Keys
) -> None:
    async with away(own_store, keys) as requester:
        publishing = asyncio.create_task(requester.publish(REQUEST, BODY, EXTENSIONS))
        own_store.start()

        assert Entry("", await publishing, {}).milliseconds > 0


async def test_a_store_that_stays_away_is_said_to_be_away(
    own_store: Store, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.bus.requester.PATIENCE_S", 0.1)
    async with away(own_store, keys) as requester:
        for call in (
            requester.publish(REQUEST, BODY, EXTENSIONS),
            requester.cancel(REQUEST, "gone"),
            requester.look_up(REQUEST),
        ):
            with pytest.raises(StoreUnavailableError):
                await call
