"""The line takes over connections of every kind that redis-py opens."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis.asyncio
from redis.exceptions import ConnectionError, ResponseError

from shared.bus import line
from shared.bus.connection import make_client
from shared.bus.line import Line, packed
from tests.fakes.authority import Authority, openssl
from tests.servers import Store, free_port, redis7_binary

BINARY = redis7_binary()
MIB = 1 << 20


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """One store's addresses, by kind."""
    if BINARY is None or openssl() is None:
        pytest.skip("there is no store here that knows TLS")
    folder = tmp_path_factory.mktemp("tls")
    Authority(folder).found().server("localhost")
    port, socket = free_port(), folder / "socket"
    options = ("--tls-port", str(port), "--tls-auth-clients", "no", "--unixsocket", str(socket))
    options += ("--tls-cert-file", str(folder / "localhost.pem"))
    options += ("--tls-key-file", str(folder / "localhost.key"))
    options += ("--tls-ca-cert-file", str(folder / "root.pem"))
    options += ("--user", "guest", "on", ">secret", "~*", "+@all")
    store = Store(folder / "store", BINARY, options=options).start()
    yield {
        "tcp": f"redis://guest:secret@127.0.0.1:{store.port}/1",
        "tls": f"rediss://guest:secret@localhost:{port}/1?ssl_ca_certs={folder / 'root.pem'}",
        "socket": f"unix://guest:secret@{socket}?db=1",
    }
    store.stop()


@pytest.mark.parametrize("kind", ["tcp", "tls", "socket"])
async def test_it_carries_batches_and_opens_anew_after_it_was_cut(
    urls: dict[str, str], kind: str
) -> None:
    client = make_client(urls[kind])
    carrier = Line(client)
    incr = packed("INCR", kind)
    big = packed("SET", f"big {kind}", "x" * MIB)

    assert await carrier.ask([incr] * 3) == [1, 2, 3]
    assert (await carrier.ask([big, packed("GET", f"big {kind}")]))[1] == b"x" * MIB
    await client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    await asyncio.sleep(0.1)
    assert await carrier.ask([incr]) == [4]

    carrier.close()
    await client.aclose()


async def test_an_error_of_one_command_is_its_reply_and_the_others_have_theirs(
    client: redis.asyncio.Redis,
) -> None:
    carrier = Line(client)

    first, error, last = await carrier.ask(
        [packed("SET", "text", "x"), packed("INCR", "text"), packed("GET", "text")]
    )

    assert (first, last) == (b"OK", b"x")
    assert isinstance(error, ResponseError)
    carrier.close()


async def test_an_answer_that_does_not_come_is_a_time_out(
    client: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "ANSWER_TIMEOUT_S", 0.3)
    carrier = Line(client)

    with pytest.raises(TimeoutError):
        await carrier.ask([packed("BLPOP", "nothing", 0)])

    assert await carrier.ask([packed("PING")]) == [b"PONG"]
    carrier.close()


async def test_what_is_cut_off_under_way_is_an_error_and_no_reply_of_it_is_taken_for_another(
    client: redis.asyncio.Redis,
) -> None:
    carrier = Line(client)
    waiting = asyncio.create_task(carrier.ask([packed("BLPOP", "nothing", 0)]))
    await asyncio.sleep(0.1)
    await client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    with pytest.raises(ConnectionError):
        await waiting

    cancelled = asyncio.create_task(carrier.ask([packed("BLPOP", "list", 0)]))
    await asyncio.sleep(0.1)
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
    await client.rpush("list", "late")  # type: ignore[misc] # its stub may be synchronous

    assert await carrier.ask([packed("PING")]) == [b"PONG"]
    carrier.close()


async def test_a_store_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    client = make_client(f"redis://127.0.0.1:{free_port()}/0")

    with pytest.raises(ConnectionError):
        await Line(client).ask([packed("PING")])

    await client.aclose()
