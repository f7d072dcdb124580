"""Clients that leave, stall, trickle or send too much, on real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from services.gateway import protocol
from tests.fakes.exchange import answering
from tests.gateway.conftest import Served
from tests.waiting import until

CHAT = "/v1/chat/completions"
QUESTION = {"messages": [{"role": "user", "content": "Hello"}]}


class Connection:
    """A client that says exactly what it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, text: str | bytes) -> None:
        self.writer.write(text.encode() if isinstance(text, str) else text)

    def post(self, body: str, length: int | None = None, **headers: str) -> None:
        more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        length = len(body) if length is None else length
        self.say(
            f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"{more}Content-Length: {length}\r\n\r\n{body}"
        )

    async def rest(self) -> str:
        """All that comes until the gateway closes the connection."""
        return (await asyncio.wait_for(self.reader.read(), 5)).decode()

    async def line(self) -> str:
        return (await asyncio.wait_for(self.reader.readline(), 5)).decode().strip()

    async def leave(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


@asynccontextmanager
async def connection(served: Served) -> AsyncIterator[Connection]:
    connected = Connection(*await asyncio.open_connection("127.0.0.1", served.port))
    try:
        yield connected
    finally:
        connected.writer.close()


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_a_client_that_leaves_while_it_waits_cancels_its_work(
    served: Served, stream: bool
) -> None:
    async with connection(served) as client:
        client.post(json.dumps({**QUESTION, "stream": stream}))
        await until(lambda: served.exchange.submitted)
        await client.leave()

        await until(lambda: served.exchange.cancelled)

    assert served.exchange.cancelled[0][0] == served.exchange.last.id
    await until(lambda: served.exchange.open_streams == 0)


async def test_a_client_that_leaves_in_the_middle_of_the_answer_cancels_the_rest(
    served: Served,
) -> None:
    async with connection(served) as client:
        client.post(json.dumps({**QUESTION, "stream": True}))
        await until(lambda: served.exchange.submitted)
        served.exchange.say("Hel")
        assert await client.line() == "HTTP/1.1 200 OK"
        await client.leave()

        await until(lambda: served.exchange.cancelled)


async def test_the_work_of_a_request_with_a_key_goes_on_without_its_client(served: Served) -> None:
    async with connection(served) as client:
        client.post(json.dumps(QUESTION), Idempotency_Key="k")
        await until(lambda: served.exchange.submitted)
        await client.leave()

        await until(lambda: served.exchange.open_streams == 0)

    assert served.exchange.cancelled == []


async def test_a_client_that_has_its_answer_cancels_nothing(served: Served) -> None:
    served.exchange.on_submit = answering(served.exchange, "Hi")
    async with connection(served) as client:
        client.post(json.dumps(QUESTION), Connection="close")

        assert (await client.rest()).startswith("HTTP/1.1 200 OK\r\nserver: roundhouse\r\n")

    assert served.exchange.cancelled == []


async def test_a_connection_serves_one_request_after_the_other(served: Served) -> None:
    served.exchange.on_submit = answering(served.exchange, "Hi")
    async with httpx.AsyncClient(base_url=served.url) as http:
        statuses = [(await http.post(CHAT, json=QUESTION)).status_code for _ in range(3)]

    assert statuses == [200, 200, 200]


async def test_a_body_that_is_too_large_is_refused_before_it_is_sent(served: Served) -> None:
    async with connection(served) as client:
        client.post("", length=2_000_000)

        assert await client.line() == "HTTP/1.1 413 Request Entity Too Large"
        assert '"body_too_large"' in await client.rest()


async def test_a_client_that_sends_too_much_reads_the_refusal_and_not_a_reset(
    served: Served,
) -> None:
    async with httpx.AsyncClient(base_url=served.url) as http:
        answer = await http.post(
            CHAT, content=b" " * 4_000_000, headers={"content-type": "application/json"}
        )

    assert answer.status_code == 413


async def test_a_body_that_trickles_in_is_given_up_on(served: Served) -> None:
    async with connection(served) as client:
        client.post("{", length=100)

        assert await client.line() == "HTTP/1.1 408 Request Timeout"
        assert '"body_timeout"' in await client.rest()


async def test_a_client_that_leaves_while_it_sends_submits_nothing(served: Served) -> None:
    async with connection(served) as client:
        client.post('{"messages": [', length=100)
        await client.leave()
    served.exchange.on_submit = answering(served.exchange, "Hi")
    async with httpx.AsyncClient(base_url=served.url) as http:
        await http.post(CHAT, json=QUESTION)

    assert len(served.exchange.submitted) == 1


async def test_endless_headers_are_refused(served: Served) -> None:
    async with connection(served) as client:
        client.say("GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: " + "x" * 70_000)

        assert await client.line() == "HTTP/1.1 431 Request Header Fields Too Large"
        assert '"error"' in await client.rest()


LONG_HEAD = "GET / HTTP/1.1\r\nHost: localhost\r\n" + "".join(
    f"X-{number}: {'x' * 1000}\r\n" for number in range(100)
)


@pytest.mark.parametrize(
    "before",
    ["", f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{{}}"],
    ids=["alone", "behind another request"],
)
async def test_too_many_headers_are_refused_though_they_come_in_one_packet(
    served: Served, before: str
) -> None:
    async with connection(served) as client:
        client.say(f"{before}{LONG_HEAD}\r\n")

        answer = await client.rest()

    assert "HTTP/1.1 431 Request Header Fields Too Large\r\n" in answer
    assert '"The headers are longer than 65536 bytes."' in answer


async def test_a_short_head_before_a_long_body_is_no_long_head(served: Served) -> None:
    served.exchange.on_submit = answering(served.exchange, "Hi")
    question = {"messages": [{"role": "user", "content": "x" * 200_000}]}
    async with connection(served) as client:
        client.post(json.dumps(question), Connection="close")

        assert (await client.rest()).startswith("HTTP/1.1 200 OK")


async def test_what_is_no_http_is_refused_as_any_other_mistake_is(served: Served) -> None:
    async with connection(served) as client:
        client.say("what is this?\r\n\r\n")

        answer = await client.rest()

    assert answer.startswith("HTTP/1.1 400 Bad Request\r\nserver: roundhouse\r\n")
    assert json.loads(answer.partition("\r\n\r\n")[2])["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "said",
    ["", "GET / HT", "\r\n", "GET / HTTP/1.1\r\nHost: localhost\r\n"],
    ids=["nothing", "half a line", "empty lines", "half a head"],
)
async def test_a_client_that_does_not_finish_its_headers_is_hung_up_on(
    served: Served, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", 0.2)
    async with connection(served) as client:
        client.say(said)

        assert await client.rest() == ""


async def test_nor_may_the_headers_of_a_second_request_take_for_ever(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", 0.2)
    async with connection(served) as client:
        client.say("GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert await client.line() == "HTTP/1.1 404 Not Found"
        client.say("\r\n")

        assert (await client.rest()).endswith("}}")


async def test_a_client_that_does_not_read_its_answer_is_hung_up_on_and_its_work_cancelled(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "STALL_S", 0.2)
    async with connection(served) as client:
        client.post(json.dumps({**QUESTION, "stream": True}))
        await until(lambda: served.exchange.submitted)
        for _ in range(200):
            served.exchange.say("x" * 100_000)

        await until(lambda: served.exchange.cancelled)
