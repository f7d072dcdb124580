"""One question to a store, over every kind of address."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest
import redis
from aiohttp import web

from cli.supervisor.probes import has_key, store_facts
from cli.supervisor.resp import RefusedError, ask
from tests.fakes.serving import serving
from tests.servers import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    socket = Path(mkdtemp()) / "s"  # a longer path would be too long for a socket
    store = Store(tmp_path / "store", options=("--unixsocket", str(socket))).start()
    with redis.Redis.from_url(store.url) as client:
        client.execute_command("ACL", "SETUSER", "anna", "on", ">p w", "~*", "+@all")
    yield store
    store.stop()


def host(store: Store) -> str:
    return f"127.0.0.1:{store.port}"


def socket(store: Store) -> str:
    return store.options[1]


async def test_an_answer_may_be_text_a_number_or_nothing(store: Store) -> None:
    assert await ask(store.url, "PING") == b"PONG"
    assert await ask(store.url, "SET", "key", "a\r\nb") == b"OK"
    assert await ask(store.url, "GET", "key") == b"a\r\nb"
    assert await ask(store.url, "STRLEN", "key") == 4
    assert await ask(store.url, "GET", "none") is None


async def test_an_address_may_name_a_user_a_database_and_a_socket(store: Store) -> None:
    await ask(f"redis://anna:p%20w@{host(store)}/3", "SET", "key", "third")

    assert await ask(f"redis://{host(store)}?db=3", "GET", "key") == b"third"
    assert await ask(f"unix://{socket(store)}?db=3", "GET", "key") == b"third"
    assert await ask(f"unix://{socket(store)}", "GET", "key") is None


async def test_a_refusal_is_told_from_silence(store: Store) -> None:
    with pytest.raises(RefusedError, match="ERR unknown command"):
        await ask(store.url, "NONSENSE")
    with pytest.raises(ConnectionError):
        await ask("redis://127.0.0.1:1", "PING")


@pytest.mark.parametrize("url", ["localhost:6379", "redis://127.0.0.1:port", "http://127.0.0.1"])
async def test_what_is_no_address_is_said_to_be_none(url: str) -> None:
    facts = await store_facts(url)

    assert isinstance(facts, str)
    assert "no address; write it like redis://127.0.0.1:6379/0" in facts


async def test_what_is_no_store_is_said_to_be_none() -> None:
    async with serving(web.Application()) as url:
        assert await store_facts(url.replace("http", "redis")) == "what answers is no store"


async def test_a_wrong_password_is_said_to_be_wrong(store: Store) -> None:
    assert await store_facts(f"redis://anna:wrong@{host(store)}") == "it refuses the password"


async def test_a_key_is_there_or_not_or_nobody_knows(store: Store) -> None:
    await ask(store.url, "SET", "key", "value")

    assert await has_key(store.url, "key") is True
    assert await has_key(store.url, "none") is False
    assert await has_key("redis://127.0.0.1:1", "key") is None
