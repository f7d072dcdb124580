"""Scripts name what they take; a name that the caller forgets is an error before anything runs."""

from typing import Any

import pytest
from redis.asyncio import Redis

from shared.bus.scripts import Script, names, script
from shared.bus.writer import ScriptError, Writer

PUBLISH = {"stream": "s", "guard": "g"}


def test_a_header_says_keys_arguments_and_events_in_their_order() -> None:
    lease, publish = script("lease"), script("publish")

    assert (lease.keys, lease.args, lease.events) == (
        ("lease", "fence"),
        ("owner", "ttl_ms", "known"),
        (),
    )
    assert (publish.keys, publish.args, publish.events) == (("stream", "guard"), (), ("event",))
    assert not publish.rest
    assert script("acknowledge").rest


def test_a_script_is_loaded_once() -> None:
    assert script("lease") is script("lease")


def test_a_script_that_is_not_there_cannot_be_loaded() -> None:
    with pytest.raises(FileNotFoundError):
        script("no-such-script")


def test_the_prelude_is_no_script() -> None:
    assert "prelude" not in names()
    assert {"admit", "dispatch", "settle", "finish"} < {*names()}


@pytest.mark.parametrize("name", names())
def test_every_script_works_while_memory_is_full_or_writes_nothing(name: str) -> None:
    first = script(name).text.splitlines()[0]

    assert first in ("#!lua flags=allow-oom", "#!lua flags=no-writes")


async def test_every_script_compiles(client: Redis) -> None:
    for name in names():
        assert await client.script_load(script(name).text) == script(name).sha1, name


def test_words_follow_the_header_whatever_the_order_of_the_caller() -> None:
    words = script("lease").command(
        {"fence": "f", "lease": "l", "unused": "u"},
        {"ttl_ms": 5, "known": "k", "owner": "o", "unused": 1},
    )

    assert words == ["EVALSHA", script("lease").sha1, 2, "l", "f", "o", 5, "k"]


def test_events_and_what_follows_them_are_counted() -> None:
    event: list[str | bytes] = ["id", "1", "data", b"{}"]

    words = script("publish").command(PUBLISH, events={"event": event})

    assert words[2:] == [2, "s", "g", 4, *event]


def test_further_keys_are_counted_as_keys() -> None:
    words = script("acknowledge").command(
        {"source": "s"},
        {"group": "g", "consumer": "c", "entry": "1-0"},
        rest=[2, "id", "1"],
        more_keys=["t"],
    )

    assert words[2:] == [2, "s", "t", "g", "c", "1-0", 2, "id", "1"]


@pytest.mark.parametrize(
    ("name", "keys", "args"),
    [
        ("lease", {"lease": "l"}, {"owner": "o", "ttl_ms": 1, "known": ""}),
        ("lease", {"lease": "l", "fence": "f"}, {"owner": "o"}),
    ],
    ids=["key", "argument"],
)
def test_a_missing_name_is_a_key_error(
    name: str, keys: dict[str, str], args: dict[str, str | bytes | int | float]
) -> None:
    with pytest.raises(KeyError):
        script(name).command(keys, args)


def test_further_arguments_need_a_script_that_takes_them() -> None:
    with pytest.raises(KeyError, match="lease takes no further arguments"):
        script("lease").command(
            {"lease": "l", "fence": "f"}, {"owner": "o", "ttl_ms": 1, "known": ""}, rest=["x"]
        )


async def test_a_script_error_names_the_script_the_key_and_its_type(
    client: Redis, writer: Writer
) -> None:
    await client.set("s", "text")

    with pytest.raises(ScriptError, match="publish: key s is a string"):
        await writer.run(script("publish"), PUBLISH, events={"event": ["id", "1"]})


async def test_values_arrive_in_the_script_byte_for_byte(client: Redis, writer: Writer) -> None:
    value = bytes(range(256))

    await writer.run(script("publish"), PUBLISH, events={"event": ["data", value]})

    rows: Any = await client.xrange("s")
    assert [fields for _, fields in rows] == [{b"data": value}]


def test_a_loaded_script_is_a_value() -> None:
    assert isinstance(script("lease"), Script)
    with pytest.raises(AttributeError):
        script("lease").name = "other"  # type: ignore[misc]
