"""Streamed answers over raw connections: kept, closed, paced, and broken in every way."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

import pytest
import uvloop

from services.inference_worker.backends.wire import (
    FEW,
    BrokenOffError,
    Connection,
    UnreachableError,
    Wire,
)
from services.inference_worker.ticks import TICK_S
from tests.waiting import until

Server = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"


class Engine:
    """Answers each request with the same bytes, and counts connections."""

    def __init__(self, answer: bytes, *, hangs_up: bool = False) -> None:
        self.answer = answer
        self.hangs_up = hangs_up
        self.connections = 0
        self.requests: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                writer.write(self.answer)
                await writer.drain()
                if self.hangs_up:
                    break
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def wire_to(serve: Server, *, keep_alive_s: float = 5.0) -> AsyncIterator[Wire]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    wire = Wire(f"http://127.0.0.1:{port}/base", connect_s=1.0, keep_alive_s=keep_alive_s)
    try:
        yield wire
    finally:
        wire.close()
        server.close()


async def body_of(wire: Wire, body: bytes = b"{}") -> bytes:
    async with aclosing(wire.post("/v1/x", {"X-Name": "value"}, body)) as answer:
        first = await anext(answer)
        assert isinstance(first, Connection)
        return b"".join([piece async for piece in answer if isinstance(piece, bytes)])


def chunked(*pieces: bytes) -> bytes:
    parts = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return HEAD + b"transfer-encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n"


async def test_a_connection_serves_one_request_after_another() -> None:
    engine = Engine(chunked(b"one ", b"two"))
    async with wire_to(engine.serve) as wire:
        assert [await body_of(wire, b'{"n": 1}') for _ in range(3)] == [b"one two"] * 3

    assert engine.connections == 1
    assert engine.requests[0].startswith(b"POST /base/v1/x HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nX-Name: value\r\n" in engine.requests[0]
    assert engine.requests[0].endswith(b'\r\n\r\n{"n": 1}')


def test_it_runs_on_the_event_loop_that_services_use() -> None:
    async def asked() -> bytes:
        async with wire_to(Engine(chunked(b"x")).serve) as wire:
            return await body_of(wire)

    assert uvloop.run(asked()) == b"x"


async def test_an_idle_connection_is_not_trusted_for_longer_than_it_is_kept() -> None:
    engine = Engine(chunked(b"x"))
    async with wire_to(engine.serve, keep_alive_s=0.0) as wire:
        await body_of(wire)
        await body_of(wire)

    assert engine.connections == 2


async def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    engine = Engine(HEAD + b"\r\nall of it", hangs_up=True)
    async with wire_to(engine.serve) as wire:
        assert await body_of(wire) == b"all of it"
        assert await body_of(wire) == b"all of it"

    assert engine.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200",
        HEAD + b"content-length: 100\r\n\r\nshort",
        HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nab",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\nnonsense\r\n",
    ],
    ids=["nothing", "half a status", "half a body", "half a chunk", "no http", "no chunk"],
)
async def test_an_answer_that_breaks_off_is_an_error(answer: bytes) -> None:
    async with wire_to(Engine(answer, hangs_up=True).serve) as wire:
        with pytest.raises(BrokenOffError):
            await body_of(wire)


async def test_who_cannot_be_reached_is_told_apart() -> None:
    with pytest.raises(UnreachableError):
        await body_of(Wire("http://127.0.0.1:1", connect_s=1.0, keep_alive_s=1.0))


async def test_leaving_an_answer_early_closes_its_connection() -> None:
    hung_up = asyncio.Event()

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"content-length: 1000\r\n\r\nbegun")
        await reader.readuntil(b"\r\n\r\n")
        while await reader.read(100):
            pass
        hung_up.set()
        writer.close()

    async with wire_to(endless) as wire:
        async with aclosing(wire.post("/", {}, b"{}")) as answer:
            await anext(answer)
            assert await anext(answer) == b"begun"
        await asyncio.wait_for(hung_up.wait(), 5)


async def test_what_was_left_unread_of_one_answer_is_no_part_of_the_next() -> None:
    engine = Engine(chunked(b"first ", b"and second"))
    async with wire_to(engine.serve) as wire:
        async with aclosing(wire.post("/", {}, b"{}")) as answer:
            connection = await anext(answer)
            assert isinstance(connection, Connection)
            await until(lambda: connection.over)
        engine.answer = chunked(b"another")

        assert await body_of(wire) == b"another"


async def test_bytes_that_nobody_asked_for_cost_the_connection_only() -> None:
    engine = Engine(chunked(b"x") + chunked(b"more"))
    async with wire_to(engine.serve) as wire:
        assert await body_of(wire) == b"x"
        assert await body_of(wire) == b"x"

    assert engine.connections == 2


async def test_many_streams_at_once_are_read_once_a_tick() -> None:
    """Pieces that come 3 ms apart are handed over together; alone they come one by one."""

    async def paced(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + b"transfer-encoding: chunked\r\n\r\n")
        for _ in range(30):
            writer.write(b"1\r\nx\r\n")
            await writer.drain()
            await asyncio.sleep(TICK_S / 10)
        writer.write(b"0\r\n\r\n")
        writer.close()

    async def pieces(wire: Wire) -> int:
        async with aclosing(wire.post("/", {}, b"{}")) as answer:
            got = [piece async for piece in answer if isinstance(piece, bytes)]
        assert b"".join(got) == b"x" * 30
        return len(got)

    async with wire_to(paced) as wire:
        together = await asyncio.gather(*[pieces(wire) for _ in range(FEW + 4)])
        alone = await pieces(wire)

    assert max(together[FEW:]) < 15 < alone


async def test_a_connection_that_died_while_idle_is_not_used_again() -> None:
    engine = Engine(chunked(b"x"), hangs_up=True)
    async with wire_to(engine.serve) as wire:
        assert await body_of(wire) == b"x"
        await until(lambda: not any(each.usable for each in wire._idle))
        assert await body_of(wire) == b"x"
