"""`publish`: an event reaches its stream, or the person is told what is wrong with it."""

import json
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.fakes.command import Command
from tests.fakes.plane import Plane
from tests.servers import Store
from tests.waiting import until

ALERT = b'{"alert": "disk", "summary": "95 % full"}'
LOAD = b'{"model": "m", "context_tokens": 1, "slots": 1, "reason": "by hand"}'


def entries(store: Store, stream: str) -> list[dict[bytes, bytes]]:
    with redis.Redis.from_url(store.url) as client:
        rows: Any = client.xrange(f"rh:{stream}")
    return [fields for _, fields in rows]


def outcome(command: Command, request_id: str) -> str | None:
    told = command.run("why", request_id, "--json")
    return told.document["outcome"] if told.code == 0 else None


def test_an_event_gets_an_envelope_and_its_id_is_printed(own_store: Store, lonely: Command) -> None:
    published = lonely.run("publish", "alert.raised", "-", given=ALERT)

    assert published.code == 0
    (entry,) = entries(own_store, "alert.raised.v1")
    assert entry[b"id"].decode() == published.out.strip()
    assert (entry[b"type"], entry[b"subject"], entry[b"source"]) == (
        b"alert.raised.v1",
        b"disk",
        b"cli",
    )
    assert json.loads(entry[b"data"]) == json.loads(ALERT)


async def test_a_request_is_answered(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    file.write_text('{"input": "hello", "task": "assess"}')

    published = command.run("publish", "inference.requested", str(file), "--json")

    assert published.document.keys() == {"type", "id", "entry"}
    await until(lambda: outcome(command, published.document["id"]) == "completed")


async def test_a_request_too_large_for_an_entry_keeps_its_task(command: Command) -> None:
    request = {"task": "classify", "priority": "HIGH", "input": "refund " * 50_000}

    published = command.run(
        "publish", "inference.requested", "-", given=json.dumps(request).encode()
    )

    await until(lambda: outcome(command, published.out.strip()) == "completed")
    story = command.run("why", published.out.strip()).out
    assert "admitted as HIGH for task classify" in story


def test_publishing_twice_with_one_id_publishes_once(own_store: Store, lonely: Command) -> None:
    first, second = (
        lonely.run("publish", "alert.raised", "-", "--id", "once", "--json", given=ALERT)
        for _ in range(2)
    )

    assert first.document["entry"] is not None
    assert second.document == {"type": "alert.raised.v1", "id": "once", "entry": None}
    assert len(entries(own_store, "alert.raised.v1")) == 1


def test_an_event_with_a_stream_per_node_goes_to_the_one_named(
    own_store: Store, lonely: Command
) -> None:
    published = lonely.run("publish", "model.load_requested", "-", "--node", "box-1", given=LOAD)

    assert published.code == 0
    assert len(entries(own_store, "model.load_requested.v1:box-1")) == 1


@pytest.mark.parametrize(
    ("arguments", "given", "said"),
    [
        (("model.load_requested", "-"), LOAD, "has one stream per node"),
        (("model.load_requested", "-", "--node", "a b"), LOAD, "--node 'a b': this is not a name"),
        (("alert.raised", "-", "--node", "box-1"), ALERT, "has one stream for all nodes"),
        (("alert.raised", "-", "--id", "a b"), ALERT, "--id 'a b': this is not a name"),
        (("alert.rised", "-"), ALERT, "There is no event alert.rised."),
        (("inference.completed", "-"), b"{}", "is written by the bus alone"),
        (("alert.raised", "-"), b'{"alert": "disk"', "is no alert.raised.v1: data: Invalid JSON"),
        (("alert.raised", "-"), b'{"alert": "hunter2"}', "summary: Field required"),
        (("alert.raised", "-"), b"", "is no alert.raised.v1"),
        (("alert.raised", "-"), b'{"alert": "\xff"}', "not UTF-8 text: byte 12, in line 1"),
        (("inference.requested", "-"), b" " * (17 << 20), "larger than 16 MiB"),
        (("alert.raised", "/nowhere.json"), b"", "/nowhere.json cannot be read"),
        (("alert.raised", "/"), b"", "/ cannot be read: Is a directory"),
    ],
)
def test_what_cannot_be_published_is_refused_with_the_reason(
    nowhere: Command, arguments: tuple[str, ...], given: bytes, said: str
) -> None:
    published = nowhere.run("publish", *arguments, given=given)

    assert (published.code, published.out) == (1, "")
    assert said in published.err
    assert "hunter2" not in published.err
    assert "Traceback" not in published.err


def test_a_full_store_refuses_new_work_with_what_to_do(own_store: Store, lonely: Command) -> None:
    with redis.Redis.from_url(own_store.url) as client:
        client.config_set("maxmemory", "1mb")
        client.config_set("maxmemory-policy", "noeviction")

    published = lonely.run("publish", "inference.requested", "-", given=b'{"input": "hello"}')

    assert published.code == 1
    assert "is full: it takes no new work" in published.err


def test_the_contract_s_examples_can_all_be_published(lonely: Command, plane: Plane) -> None:
    examples = Path(__file__).parents[2] / "shared/contracts/examples/model.unload_requested.v1"
    for example in examples.glob("*.json"):
        published = lonely.run(
            "publish", "model.unload_requested.v1", str(example), "--node", "nobody"
        )
        assert published.code == 0, published.err
