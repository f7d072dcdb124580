"""Replies: one gapless beginning of an answer, of one attempt, and then its end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from shared.bus.attempts import Attempt
from shared.bus.connection import make_client
from shared.bus.envelope import Entry
from shared.bus.replies import Replies, Reply, ReplyDelta, ReplyFinal, ReplyStream
from shared.bus.tail import tail
from tests.bus.facts import ASKER, REQUEST
from tests.bus.scene import Scene, emit
from tests.servers import Store

_numbers = count(1)


def entry(**fields: str) -> Entry:
    raw = {name.encode(): value.encode() for name, value in fields.items()}
    return Entry("rh:reply:asker", f"{next(_numbers)}-0", raw)


def delta(seq: int, attempt: int = 1, request: str = REQUEST, **fields: str) -> Entry:
    content = f'{{"content":"{attempt}.{seq}"}}'
    return entry(request=request, attempt=str(attempt), seq=str(seq), delta=content, **fields)


def final(outcome: str = "completed", request: str = REQUEST) -> Entry:
    return entry(request=request, attempt="1", final=outcome, data='{"request_id":"r1"}')


async def heard(stream: ReplyStream) -> list[Reply]:
    async with asyncio.timeout(5):
        return [reply async for reply in stream]


def contents(replies: list[Reply]) -> list[str]:
    return [reply.delta["content"] for reply in replies if isinstance(reply, ReplyDelta)]


async def test_pieces_come_in_their_order_and_then_the_end() -> None:
    replies = Replies()
    stream = replies.open(REQUEST, chunks=True)

    await replies.on_entries([delta(0, model="m1", node="n1"), delta(1), final()])

    first, second, end = await heard(stream)
    assert first == ReplyDelta(1, 0, {"content": "1.0"}, "m1", "n1")
    assert second == ReplyDelta(1, 1, {"content": "1.1"})
    assert end == ReplyFinal("completed", {"request_id": "r1"}, complete=True)
    assert stream.ended


async def test_a_piece_that_comes_twice_is_heard_once() -> None:
    replies = Replies()
    stream = replies.open(REQUEST, chunks=True)

    await replies.on_entries([delta(0), delta(0), delta(1), delta(0), delta(1), final()])

    assert contents(await heard(stream)) == ["1.0", "1.1"]


async def test_a_reader_latches_on_the_first_attempt_that_it_sees() -> None:
    replies = Replies()
    stream = replies.open(REQUEST, chunks=True)

    await replies.on_entries([delta(0, 2), delta(0, 1), delta(1, 3), delta(1, 2), final()])

    *_, end = answer = await heard(stream)
    assert contents(answer) == ["2.0", "2.1"]
    assert isinstance(end, ReplyFinal)
    assert end.complete


async def test_after_a_gap_only_the_end_follows_and_says_that_pieces_are_missing() -> None:
    replies = Replies()
    stream = replies.open(REQUEST, chunks=True)

    await replies.on_entries([delta(0), delta(2), delta(3), final()])

    *_, end = answer = await heard(stream)
    assert contents(answer) == ["1.0"]
    assert isinstance(end, ReplyFinal)
    assert not end.complete


async def test_a_beginning_that_was_missed_is_a_gap() -> None:
    replies = Replies()
    stream = replies.open(REQUEST, chunks=True)

    await replies.on_entries([delta(1), final()])

    [end] = await heard(stream)
    assert isinstance(end, ReplyFinal)
    assert not end.complete


async def test_whoever_wants_no_pieces_gets_only_the_end() -> None:
    replies = Replies()
    stream = replies.open(REQUEST, chunks=False)

    await replies.on_entries([delta(0), delta(2), final()])

    assert await heard(stream) == [ReplyFinal("completed", {"request_id": "r1"})]


async def test_nothing_follows_the_end() -> None:
    replies = Replies()
    stream = replies.open(REQUEST, chunks=True)

    await replies.on_entries([final(), delta(0), final("failed")])

    assert await heard(stream) == [ReplyFinal("completed", {"request_id": "r1"})]


async def test_everybody_who_waits_for_a_request_hears_it_and_nobody_else() -> None:
    replies = Replies()
    one, two = replies.open(REQUEST, chunks=False), replies.open(REQUEST, chunks=True)
    other = replies.open("r2", chunks=True)

    await replies.on_entries([delta(0), final()])

    assert len(await heard(one)) == 1
    assert len(await heard(two)) == 2
    assert not other.ended


async def test_a_conflict_is_heard_only_by_the_later_asker() -> None:
    replies = Replies()
    first, later = replies.open(REQUEST, chunks=False), replies.open(REQUEST, chunks=False)
    first.entry_id, later.entry_id = "5-0", "6-0"

    await replies.on_entries([final("rejected", f"{REQUEST}#6-0")])
    assert not first.ended
    assert [reply.outcome for reply in await heard(later) if isinstance(reply, ReplyFinal)] == [
        "rejected"
    ]

    await replies.on_entries([final()])
    assert len(await heard(first)) == 1


async def test_an_entry_that_is_no_reply_is_passed_over() -> None:
    replies = Replies()
    stream = replies.open(REQUEST, chunks=True)
    broken = [
        entry(request=REQUEST),
        entry(request=REQUEST, delta="{", attempt="1", seq="0"),
        entry(request=REQUEST, delta="{}", attempt="first", seq="0"),
        entry(request=REQUEST, final="completed", data="no JSON"),
        Entry("rh:reply:asker", "1-0", {b"request": b"\xff"}),
    ]

    await replies.on_entries([*broken, delta(0), final()])

    assert contents(await heard(stream)) == ["1.0"]


async def test_a_closed_stream_ends_and_is_forgotten() -> None:
    replies = Replies()
    stream = replies.open(REQUEST, chunks=True)

    stream.close()
    await replies.on_entries([delta(0), final()])

    assert await heard(stream) == []
    assert replies.all() == []


async def test_closing_one_reader_leaves_the_other() -> None:
    replies = Replies()
    one, two = replies.open(REQUEST, chunks=True), replies.open(REQUEST, chunks=True)

    one.close()

    assert replies.all() == [two]


@given(st.lists(st.tuples(st.integers(1, 2), st.integers(0, 4)), max_size=12))
async def test_what_is_heard_is_always_a_beginning_of_one_attempts_answer(
    pieces: list[tuple[int, int]],
) -> None:
    replies = Replies()
    stream = replies.open(REQUEST, chunks=True)

    await replies.on_entries([*(delta(seq, attempt) for attempt, seq in pieces), final()])

    answer = await heard(stream)
    latched = pieces[0][0] if pieces else 0
    assert contents(answer) == [f"{latched}.{seq}" for seq in range(len(answer) - 1)]


async def test_what_a_worker_emits_is_what_the_asker_hears(
    scene: Scene, session_store: Store
) -> None:
    await scene.reach("running")
    replies = Replies()
    stream = replies.open(REQUEST, chunks=True)
    async with following(session_store, scene.keys.reply(ASKER), replies):
        await emitted(scene, scene.attempt, "Hello", " ", "world")
        await scene.complete()

        *pieces, end = await heard(stream)

    assert [piece.delta for piece in pieces if isinstance(piece, ReplyDelta)] == [
        *({"content": text} for text in ("Hello", " ", "world")),
    ]
    assert isinstance(end, ReplyFinal)
    assert end.complete


async def emitted(scene: Scene, attempt: Attempt, *texts: str) -> None:
    for seq, text in enumerate(texts):
        content = f'{{"content":"{text}"}}'.encode()
        await emit(scene, attempt, seq, content)


@asynccontextmanager
async def following(store: Store, stream: str, replies: Replies) -> AsyncIterator[None]:
    client = make_client(store.url)
    task = asyncio.create_task(tail(client, {stream: replies.on_entries}, 60.0))
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await client.aclose()
