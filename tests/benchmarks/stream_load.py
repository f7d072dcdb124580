"""Requests into our stream, as a program asks that speaks Redis: one connection adds entries,
one reads the reply stream."""

import asyncio
import json
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any
from urllib.parse import unquote, urlsplit

import hiredis

from shared.bus.envelope import attributes
from shared.bus.ids import random_id
from shared.bus.keys import Keys
from shared.events.base import Operation, ReplyMode
from shared.events.inference import InferenceRequested
from tests.benchmarks.orders import Order, Tally, body

BLOCK_MS = 1000
OnReply = Callable[[Any], None]


class Connection(asyncio.Protocol):
    """Sends commands and hands the replies on, in order."""

    def __init__(self, on_reply: OnReply) -> None:
        self._reader = hiredis.Reader(notEnoughData=Ellipsis)
        self._on_reply = on_reply
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not Ellipsis:
            self._on_reply(reply)

    def send(self, *command: str | bytes | int) -> None:
        self._transport.write(hiredis.pack_command(command))  # type: ignore[arg-type]

    def close(self) -> None:
        self._transport.close()


class Producer:
    """Keeps a number of requests in flight, and hears how each ends."""

    def __init__(self, tally: Tally) -> None:
        keys, order = Keys(), tally.order
        self._tally = tally
        self._expected = order.expected.encode()
        self._name = f"bench-{random_id()[:8]}"
        self._inbox = keys.stream(InferenceRequested)
        self._replies = keys.reply(self._name)
        self._data = json.dumps({"model": order.shape.model, "input": body(order.shape)})
        self._asked_s: dict[bytes, float] = {}
        self._first_s: dict[bytes, float] = {}
        self._read_until: str | bytes = "0"
        self.done = asyncio.Event()

    async def connect(self) -> None:
        address = urlsplit(self._tally.order.address)
        assert address.hostname
        assert address.port
        loop = asyncio.get_running_loop()
        user, password = address.username or "default", unquote(address.password or "")
        for attribute, on_reply in (("_adding", self._added), ("_reading", self._read)):
            connect = partial(Connection, on_reply)
            _, connection = await loop.create_connection(connect, address.hostname, address.port)
            if password:
                connection.send("AUTH", user, password)
            setattr(self, attribute, connection)

    _adding: Connection
    _reading: Connection

    def start(self) -> None:
        for _ in range(self._tally.order.in_flight):
            self._ask()
        self._read_on()

    def close(self) -> None:
        self._adding.close()
        self._reading.close()

    def _ask(self) -> None:
        request_id = random_id()
        order = self._tally.order
        fields = attributes(InferenceRequested.type, request_id, "bench", request_id)
        fields += ["model", order.shape.model, "operation", Operation.CHAT]
        fields += ["inputbytes", str(len(self._data)), "replyto", self._name]
        fields += ["replymode", ReplyMode.CHUNKS if order.shape.streamed else ReplyMode.FINAL]
        self._asked_s[request_id.encode()] = perf_counter()
        self._adding.send("XADD", self._inbox, "*", *fields, "data", self._data)

    def _added(self, reply: Any) -> None:
        if isinstance(reply, hiredis.ReplyError):
            self._fail(f"the store: {reply}")

    def _read_on(self) -> None:
        command = ("XREAD", "COUNT", 1000, "BLOCK", BLOCK_MS, "STREAMS")
        self._reading.send(*command, self._replies, self._read_until)

    def _read(self, reply: Any) -> None:
        if isinstance(reply, hiredis.ReplyError):
            self._fail(f"the store: {reply}")
        if reply == b"OK":  # to AUTH
            return
        for _, entries in reply or ():
            for entry_id, fields in entries:
                self._read_until = entry_id
                self._hear(dict(zip(fields[::2], fields[1::2], strict=True)))
        if self._asked_s:
            self._read_on()
        else:
            self.done.set()

    def _hear(self, fields: dict[bytes, bytes]) -> None:
        request_id = fields[b"request"]
        first_s = self._first_s.setdefault(request_id, perf_counter())
        if b"final" not in fields:
            return
        del self._first_s[request_id]
        asked_s = self._asked_s.pop(request_id, None)
        if asked_s is None:  # given up after a failure
            return
        if fields[b"final"] == b"completed" and self._expected in fields[b"data"]:
            self._tally.answered(asked_s, first_s)
        else:
            self._fail(f"{fields[b'final'].decode()}: {fields[b'data'][-300:].decode()}")
        if self._tally.goes_on:
            self._ask()

    def _fail(self, why: str) -> None:
        self._tally.failures[why] += 1
        self._asked_s.clear()
        self.done.set()


async def carry_out(order: Order) -> Tally:
    tally = Tally(order)
    producer = Producer(tally)
    await producer.connect()
    producer.start()
    await producer.done.wait()
    producer.close()
    return tally
