"""Dead letters: kept with their reason and all their fields, until a person decides."""

from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from shared.bus.connection import ensure_group
from shared.bus.dead_letters import PAGE, DeadLetters, Letter, NoSuchLetterError, bury
from shared.bus.envelope import Entry
from shared.bus.keys import Keys
from shared.bus.writer import Writer
from shared.events.inference import InferenceDispatched, InferenceRequested
from shared.events.operations import DeadLetter
from tests.bus.stored import read
from tests.servers import free_port

FIELDS: dict[Any, Any] = {b"id": b"r1", b"data": b"\xff no text", b"x-custom": b"kept"}


@pytest.fixture
def letters(client: Redis, keys: Keys) -> DeadLetters:
    return DeadLetters(client, keys)


async def delivered(client: Redis, stream: str, group: str = "router") -> Entry:
    await ensure_group(client, stream, group)
    await client.xadd(stream, dict(FIELDS))
    reply: Any = await client.xreadgroup(group, "c", {stream: ">"})
    [[_, [(entry_id, fields)]]] = reply
    return Entry(stream, entry_id.decode(), fields)


async def all_of(letters: DeadLetters) -> list[Letter]:
    return [letter async for letter in letters.all()]


async def test_an_entry_is_buried_with_its_reason_and_acknowledged(
    client: Redis, keys: Keys, writer: Writer, letters: DeadLetters
) -> None:
    inbox = keys.stream(InferenceRequested)
    entry = await delivered(client, inbox)

    await bury(writer, keys, "router", entry, "invalid: no request", deliveries=3)

    [letter] = await all_of(letters)
    stored, _ = await read(client, keys)
    assert letter.letter == DeadLetter(
        origin="inference.requested.v1",
        entry=entry.id,
        group="router",
        reason="invalid: no request",
        deliveries=3,
    )
    assert letter.original == FIELDS
    assert await letters.one(letter.id) == letter
    assert stored.stream(InferenceRequested).pending == {"router": []}


async def test_burying_twice_is_burying_once(
    client: Redis, keys: Keys, writer: Writer, letters: DeadLetters
) -> None:
    entry = await delivered(client, keys.stream(InferenceRequested))

    await bury(writer, keys, "router", entry, "invalid")
    await bury(writer, keys, "router", entry, "invalid")

    assert len(await all_of(letters)) == 1


async def test_an_entry_too_wide_for_a_script_is_buried_without_its_fields(
    client: Redis, keys: Keys, writer: Writer, letters: DeadLetters
) -> None:
    wide = {f"field-{number}".encode(): b"x" for number in range(5000)}
    entry = Entry(keys.stream(InferenceRequested), "1-0", wide)

    await bury(writer, keys, "router", entry, "invalid")

    [letter] = await all_of(letters)
    assert (letter.letter.entry, letter.original) == ("1-0", {})


async def test_two_groups_may_bury_the_same_entry(
    client: Redis, keys: Keys, writer: Writer, letters: DeadLetters
) -> None:
    entry = await delivered(client, keys.stream(InferenceRequested))

    await bury(writer, keys, "router", entry, "invalid")
    await bury(writer, keys, "audit-logger", entry, "invalid")

    assert {letter.letter.group for letter in await all_of(letters)} == {"router", "audit-logger"}


async def test_a_replayed_letter_is_an_entry_again_for_all_groups(
    client: Redis, keys: Keys, writer: Writer, letters: DeadLetters
) -> None:
    stream = keys.stream(InferenceDispatched, "n1")
    await bury(writer, keys, "router", await delivered(client, stream), "no engine")
    [letter] = await all_of(letters)

    entry_id = await letters.replay(letter.id)

    assert await all_of(letters) == []
    assert await client.xrange(stream, entry_id, entry_id) == [(entry_id.encode(), FIELDS)]
    assert await client.xreadgroup("router", "c", {stream: ">"})


async def test_a_dropped_letter_is_gone(
    client: Redis, keys: Keys, writer: Writer, letters: DeadLetters
) -> None:
    inbox = keys.stream(InferenceRequested)
    await bury(writer, keys, "router", await delivered(client, inbox), "invalid")
    [letter] = await all_of(letters)

    await letters.drop(letter.id)

    assert await all_of(letters) == []
    assert await client.xlen(inbox) == 1


@pytest.mark.parametrize("letter_id", ["1-0", "no id", "", "-", "+", "(1-0"])
async def test_a_letter_that_is_not_there_cannot_be_shown_replayed_or_dropped(
    client: Redis, keys: Keys, writer: Writer, letters: DeadLetters, letter_id: str
) -> None:
    entry = await delivered(client, keys.stream(InferenceRequested))
    await bury(writer, keys, "router", entry, "invalid")

    for action in (letters.one, letters.replay, letters.drop):
        with pytest.raises(NoSuchLetterError, match="dead letter"):
            await action(letter_id)

    assert len(await all_of(letters)) == 1


async def test_letters_are_listed_oldest_first_over_all_pages(
    client: Redis, keys: Keys, writer: Writer, letters: DeadLetters
) -> None:
    inbox = keys.stream(InferenceRequested)
    for number in range(PAGE + 1):
        await bury(writer, keys, "router", Entry(inbox, f"{number + 1}-0", {}), "invalid")

    entries = [letter.letter.entry for letter in await all_of(letters)]

    assert entries == [f"{number + 1}-0" for number in range(PAGE + 1)]


async def test_a_store_that_is_away_is_not_taken_for_a_letter_that_is(keys: Keys) -> None:
    away = Redis(host="127.0.0.1", port=free_port())

    with pytest.raises(RedisConnectionError):
        await DeadLetters(away, keys).one("1-1")

    await away.aclose()
