"""Requests over HTTP: one connection for each that is in flight, kept open."""

import asyncio
import json
from time import perf_counter
from urllib.parse import urlsplit

import httptools

from tests.benchmarks.orders import Order, Tally, body


class Caller(asyncio.Protocol):
    """Asks, and asks again once the answer is complete; `done` is set after the last one."""

    def __init__(self, request: bytes, tally: Tally) -> None:
        self._request = request
        self._tally = tally
        self._ending = b"data: [DONE]\n\n" if tally.order.shape.streamed else b""
        self._expected = tally.order.expected.encode()
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self._pieces: list[bytes] = []
        self._asked_s = self._first_s = 0.0
        self.done = asyncio.Event()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.is_set():
            self._tally.failures["the connection was closed"] += 1
            self.done.set()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        if not self._pieces:
            self._first_s = perf_counter()
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        answer, status = b"".join(self._pieces), self._parser.get_status_code()
        if status != 200 or self._expected not in answer or not answer.endswith(self._ending):
            self._tally.failures[f"HTTP {status}: {answer[-300:].decode(errors='replace')}"] += 1
        else:
            self._tally.answered(self._asked_s, self._first_s)
        if self._tally.goes_on:
            self._ask()
        else:
            self.done.set()
            self._transport.close()

    def _ask(self) -> None:
        self._pieces.clear()
        self._asked_s = perf_counter()
        self._transport.write(self._request)


async def carry_out(order: Order) -> Tally:
    address = urlsplit(order.address)
    assert address.hostname
    assert address.port
    request = _request(order, address.netloc)
    loop = asyncio.get_running_loop()
    tally = Tally(order)
    callers = []
    for _ in range(order.in_flight):
        _, caller = await loop.create_connection(
            lambda: Caller(request, tally), address.hostname, address.port
        )
        callers.append(caller)
    await asyncio.gather(*(caller.done.wait() for caller in callers))
    return tally


def _request(order: Order, host: str) -> bytes:
    text = json.dumps(body(order.shape)).encode()
    authorization = f"Authorization: {order.authorization}\r\n" if order.authorization else ""
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\n{authorization}"
        f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
    )
    return head.encode() + text
