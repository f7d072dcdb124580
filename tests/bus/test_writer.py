"""What is written in one turn goes in one round trip, and every error finds its caller."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis.asyncio
from redis.exceptions import ConnectionError, ResponseError

from shared.bus.connection import make_client
from shared.bus.keys import Keys
from shared.bus.scripts import script
from shared.bus.writer import ScriptError, Writer
from tests.servers import Store
from tests.waiting import until

LEASE = {"lease": "l", "fence": "f"}
OWNER: dict[str, str | bytes | int | float] = {"owner": "o", "ttl_ms": 60_000, "known": ""}


class CountingWriter(Writer):
    round_trips = 0

    async def _round_trip(self, batch: Any) -> None:
        self.round_trips += 1
        await super()._round_trip(batch)


@pytest.fixture
async def writer(client: redis.asyncio.Redis) -> AsyncIterator[CountingWriter]:
    writer = CountingWriter(client)
    yield writer
    await writer.close()


async def test_commands_of_one_turn_share_one_round_trip(writer: CountingWriter) -> None:
    replies = await asyncio.gather(*[writer.send("INCR", "n") for _ in range(500)])

    assert replies == list(range(1, 501))
    assert writer.round_trips == 1


async def test_commands_of_many_callers_share_it_too(writer: CountingWriter) -> None:
    async def call(number: int) -> bytes:
        await writer.send("SET", f"k{number}", number)
        return bytes(await writer.send("GET", f"k{number}"))

    values = await asyncio.gather(*[call(number) for number in range(100)])

    assert values == [str(number).encode() for number in range(100)]
    assert writer.round_trips == 2


async def test_what_is_sent_during_a_round_trip_forms_the_next(writer: CountingWriter) -> None:
    first = writer.send("INCR", "n")
    await until(lambda: writer.round_trips == 1, every_s=0)

    later = [writer.send("INCR", "n") for _ in range(100)]

    assert [await first, *await asyncio.gather(*later)] == list(range(1, 102))
    assert writer.round_trips == 2


async def test_an_error_of_the_store_reaches_only_its_caller(writer: Writer) -> None:
    good, bad, also_good = (
        writer.send("SET", "text", "x"),
        writer.send("LPUSH", "text", "y"),
        writer.send("GET", "text"),
    )

    assert await good
    assert await also_good == b"x"
    with pytest.raises(ResponseError, match="wrong kind"):
        await bad


@pytest.mark.parametrize(
    ("word", "error"), [(None, TypeError), ("\ud800", UnicodeEncodeError)], ids=["type", "text"]
)
async def test_what_cannot_be_sent_fails_only_its_caller(
    writer: Writer, word: Any, error: type[Exception]
) -> None:
    good = writer.send("INCR", "n")
    with pytest.raises(error):
        writer.send("SET", "text", word)
    also_good = writer.send("INCR", "n")

    assert (await good, await also_good) == (1, 2)


async def test_a_script_that_cannot_do_what_it_is_asked_says_so(writer: Writer) -> None:
    fields_without_a_value = ["id", "1", "data"]

    with pytest.raises(ScriptError, match="publish"):
        await writer.run(
            script("publish"),
            {"stream": "s", "guard": "g"},
            events={"event": fields_without_a_value},
        )

    assert await writer.send("EXISTS", "s", "g") == 0


async def test_a_script_that_the_store_forgot_is_loaded_again(
    writer: Writer, client: redis.asyncio.Redis
) -> None:
    await writer.run(script("lease"), LEASE, OWNER)
    await client.script_flush()

    renewal = {**OWNER, "known": "1:o"}
    replies = await asyncio.gather(
        *[writer.run(script("lease"), LEASE, renewal) for _ in range(50)]
    )

    assert replies == [[b"1:o"]] * 50


async def test_a_known_script_costs_one_round_trip(writer: CountingWriter) -> None:
    await writer.run(script("lease"), LEASE, OWNER)
    before = writer.round_trips

    await asyncio.gather(*[writer.run(script("lease"), LEASE, OWNER) for _ in range(50)])

    assert writer.round_trips == before + 1


async def test_a_caller_that_gives_up_harms_nobody(writer: Writer) -> None:
    async def call() -> int:
        return int(await writer.send("INCR", "n"))

    impatient, patient = asyncio.create_task(call()), asyncio.create_task(call())
    await asyncio.sleep(0)
    impatient.cancel()

    assert await patient == 2
    assert impatient.cancelled()
    assert await writer.send("INCR", "n") == 3


async def test_closing_waits_for_what_was_sent(writer: Writer, client: redis.asyncio.Redis) -> None:
    reply = writer.send("SET", "k", "v")

    await writer.close()

    assert reply.done()
    assert await client.get("k") == b"v"


async def test_a_lost_store_fails_all_callers_and_the_next_ones_reach_it_again(
    own_store: Store, keys: Keys
) -> None:
    client = make_client(own_store.url)
    writer = Writer(client)
    await writer.send("SET", "k", "v")
    own_store.kill()

    failed = await asyncio.gather(
        *[writer.send("GET", "k") for _ in range(3)], return_exceptions=True
    )
    own_store.start()

    assert [isinstance(error, ConnectionError) for error in failed] == [True] * 3
    assert await writer.send("PING") == b"PONG"
    await writer.close()
    await client.aclose()
