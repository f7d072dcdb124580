"""A receiver of webhooks that fails in every way: a server that answers byte by byte as told.

It is written on sockets, since no web framework would send what it must be able to send.
"""

import asyncio
import json
import socket
import ssl
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

OK = b"HTTP/1.1 204 No Content\r\n\r\n"

SAYS = {
    "ok": OK,
    "silent close": b"",
    "nonsense": b"SSH-2.0-OpenSSH_9.2p1 token=hunter2\r\n",
    "half an answer": b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
    "huge headers": b"HTTP/1.1 200 OK\r\nx: " + b"y" * 1_000_000,
}
CONDUCTS = (*SAYS, "hangs", "resets", "trickles", "floods")


@dataclass(frozen=True)
class Delivery:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def document(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """`conduct` is one of CONDUCTS, or a whole answer; `next` has what comes before that, once."""

    conduct: str | bytes = "ok"
    next: "deque[str | bytes]" = field(default_factory=deque)
    decide: Callable[[Delivery], str | bytes] | None = None
    """For what depends on what came; wins over `conduct`."""
    received: list[Delivery] = field(default_factory=list)
    accepted: list[Delivery] = field(default_factory=list)
    """Those that were answered well."""
    port: int = 0
    at_a_time: int = 0
    most_at_a_time: int = 0
    _server: asyncio.Server | None = None
    _open: "set[asyncio.Task[None]]" = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/webhook/roundhouse"

    @property
    def ids(self) -> list[str]:
        return [delivery.id for delivery in self.accepted]

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        self._server = await asyncio.start_server(
            self._on_connection, "127.0.0.1", self.port, ssl=tls
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Nobody listens there any more: connections are refused."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _on_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self.at_a_time += 1
        self.most_at_a_time = max(self.at_a_time, self.most_at_a_time)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._serve(reader, writer)
        self.at_a_time -= 1
        writer.close()
        self._open.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        delivery = await _read(reader)
        self.received.append(delivery)
        conduct = self.next.popleft() if self.next else self.conduct
        if self.decide is not None:
            conduct = self.decide(delivery)
        if isinstance(conduct, bytes) or conduct in ("ok", "floods"):
            answer = OK if isinstance(conduct, str) else conduct
            if answer.startswith(b"HTTP/1.1 2"):
                self.accepted.append(delivery)
        if isinstance(conduct, bytes):
            writer.write(conduct)
        else:
            await _behave(conduct, writer)
        await writer.drain()


def status(code: int, **headers: str) -> bytes:
    """A whole answer without a body."""
    lines = [f"HTTP/1.1 {code} So", "content-length: 0"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


async def _read(reader: asyncio.StreamReader) -> Delivery:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    pairs = (line.split(": ", 1) for line in head[1:] if line)
    headers = {name.lower(): value for name, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Delivery(head[0].split(" ")[1], headers, body)


async def _behave(conduct: str, writer: asyncio.StreamWriter) -> None:
    match conduct:
        case "hangs":
            await asyncio.Event().wait()
        case "resets":
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        case "trickles":
            await _endlessly(
                writer, b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n", b".", 0.05
            )
        case "floods":
            await _endlessly(writer, b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536, 0)
        case _:
            writer.write(SAYS[conduct])


async def _endlessly(
    writer: asyncio.StreamWriter, head: bytes, piece: bytes, pause_s: float
) -> None:
    writer.write(head)
    while True:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(pause_s)


@asynccontextmanager
async def receiving(
    conduct: str | bytes = "ok", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    receiver = Receiver(conduct)
    await receiver.start(tls)
    try:
        yield receiver
    finally:
        await receiver.stop()
