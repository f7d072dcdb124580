"""`dlq`: what nobody could handle is seen, replayed and forgotten."""

from typing import Any

import pytest
import redis

from tests.fakes.command import Command
from tests.fakes.plane import Plane
from tests.servers import Store
from tests.waiting import until


def add(url: str, stream: str, fields: Any) -> str:
    with redis.Redis.from_url(url) as client:
        entry: Any = client.xadd(f"rh:{stream}", fields)
    return str(entry.decode())


async def buried(plane: Plane, command: Command, data: str | bytes) -> dict[str, Any]:
    """The letter that becomes of a request that is none."""
    known = {letter["id"] for letter in command.run("dlq", "list", "--json").document}
    add(plane.url, "inference.requested.v1", {"data": data})

    def new() -> list[dict[str, Any]]:
        letters = command.run("dlq", "list", "--json").document
        return [letter for letter in letters if letter["id"] not in known]

    (letter,) = await until(new)
    return letter


async def test_a_letter_says_where_it_comes_from_and_why(plane: Plane, command: Command) -> None:
    letter = await buried(plane, command, "nonsense")

    table = command.run("dlq", "list").out
    shown = command.run("dlq", "show", letter["id"]).out

    assert letter["origin"] == "inference.requested.v1"
    assert letter["original"] == {"data": "nonsense"}
    assert letter["id"] in table
    assert "router" in table
    assert "data: nonsense" in shown
    assert f"reason: {letter['reason']}" in shown
    command.run("dlq", "drop", letter["id"])


async def test_a_replayed_letter_is_back_on_its_stream_and_no_letter_any_more(
    plane: Plane, command: Command
) -> None:
    letter = await buried(plane, command, "nonsense")

    replayed = command.run("dlq", "replay", letter["id"], "--json")

    assert replayed.document["stream"] == "inference.requested.v1"
    assert replayed.document["letter"] == letter["id"]
    await until(lambda: command.run("dlq", "list", "--json").document)
    (again,) = command.run("dlq", "list", "--json").document
    assert (again["entry"], again["id"]) != (letter["entry"], letter["id"])
    assert again["entry"] == replayed.document["entry"]
    assert command.run("dlq", "drop", again["id"]).code == 0
    assert command.run("dlq", "list").out == "There are no dead letters.\n"


async def test_bytes_that_are_no_text_cannot_steer_the_terminal(
    plane: Plane, command: Command
) -> None:
    letter = await buried(plane, command, b"\x1b[2J\xff")

    shown = command.run("dlq", "show", letter["id"]).out

    assert "data: \\x1b[2J\ufffd" in shown
    command.run("dlq", "drop", letter["id"])


@pytest.mark.parametrize("action", ["show", "replay", "drop"])
@pytest.mark.parametrize(
    ("letter", "said"),
    [("1-1", "There is no dead letter 1-1"), ("+", "'+' is not the id of a dead letter")],
    ids=["unknown", "no-id"],
)
def test_a_wrong_id_is_told_from_an_unknown_one(
    lonely: Command, action: str, letter: str, said: str
) -> None:
    asked = lonely.run("dlq", action, letter)

    assert (asked.code, asked.out) == (1, "")
    assert said in asked.err


def test_a_letter_whose_entry_was_gone_is_not_replayed(own_store: Store, lonely: Command) -> None:
    said = '{"origin":"a.v1","entry":"1-1","group":"g","reason":"r","deliveries":5}'
    letter = add(own_store.url, "dead_letter.v1", {"data": said})

    replayed = lonely.run("dlq", "replay", letter)

    assert replayed.code == 1
    assert f"dlq drop {letter}" in replayed.err
    assert lonely.run("dlq", "show", letter).code == 0


def test_a_list_is_empty_before_anything_went_wrong(lonely: Command) -> None:
    assert lonely.run("dlq", "list", "--json").document == []
