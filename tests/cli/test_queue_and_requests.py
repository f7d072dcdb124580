"""`queue` and `requests`: what waits, runs and ended, and how to end it."""

from collections.abc import Iterator

import pytest
import redis

from tests.fakes.command import Command
from tests.fakes.plane import Plane
from tests.servers import Store
from tests.waiting import until

SLOTS = 4


@pytest.fixture
def crowd(plane: Plane, command: Command) -> Iterator[list[str]]:
    """Six requests for a model that never answers: four run, two wait."""
    ids = []
    for _ in range(SLOTS + 2):
        event = b'{"input": "hello", "model": "hang", "priority": "LOW", "task": "report"}'
        ids.append(command.run("publish", "inference.requested", "-", given=event).out.strip())
    yield ids
    command.run("requests", "cancel", "--all", "--yes", "--model", "hang")


def listed(command: Command, *options: str) -> list[dict[str, str]]:
    return command.run("requests", "list", "--model", "hang", "--json", *options).document


def states(command: Command, *options: str) -> list[str]:
    return sorted(each["state"] for each in listed(command, *options))


async def test_the_queue_shows_what_waits_by_class_and_kind_and_what_runs_by_node(
    command: Command, crowd: list[str]
) -> None:
    await until(lambda: states(command).count("running") == SLOTS, 20)

    document = command.run("queue", "--json").document

    low = next(each for each in document["classes"] if each["priority"] == "LOW")
    assert (document["waiting"], low["waiting"]) == (2, 2)
    assert low["oldest_s"] >= 0
    (kind,) = document["kinds"]
    assert (kind["task"], kind["model"], kind["waiting"]) == ("report", "hang", 2)
    (node,) = document["nodes"]
    assert (node["name"], node["in_flight"]) == ("local", SLOTS)
    shown = command.run("queue", "show")
    assert shown.out.startswith("priority  waiting  oldest")


async def test_requests_are_listed_by_what_they_do_and_what_they_are(
    command: Command, crowd: list[str]
) -> None:
    await until(lambda: states(command).count("running") == SLOTS, 20)

    assert states(command, "--state", "waiting") == ["waiting"] * 2
    assert states(command, "--state", "running") == ["running"] * SLOTS
    for other in (("--task", "chat"), ("--priority", "high")):
        assert not {each["request_id"] for each in listed(command, *other)} & set(crowd)
    assert len(states(command, "--limit", "3")) == 3
    assert crowd[0] in command.run("requests").out


async def test_named_requests_are_cancelled_and_others_are_not(
    command: Command, crowd: list[str]
) -> None:
    await until(lambda: states(command).count("running") == SLOTS, 20)

    ended = command.run("requests", "cancel", crowd[0], crowd[-1])
    again = command.run("requests", "cancel", crowd[0], "nobody", "--json")

    assert (ended.code, ended.out) == (0, "2 cancelled\n")
    assert again.code == 1
    assert again.document == {"cancelled before": 1, "unknown": 1}
    assert states(command, "--state", "final").count("final") >= 2
    shown = command.run("requests", "show", crowd[0])
    assert "outcome: cancelled" in shown.out


async def test_all_of_a_kind_are_cancelled_after_a_question(
    command: Command, crowd: list[str]
) -> None:
    await until(lambda: states(command).count("running") == SLOTS, 20)
    arguments = ("requests", "cancel", "--all", "--model", "hang")

    refused = command.run(*arguments, given=b"n\n")
    ended = command.run(*arguments, given=b"y\n")

    assert refused.code == 1
    assert f"Cancel {len(crowd)} requests?" in refused.err
    assert ended.out.strip() == f"{len(crowd)} cancelled"
    assert set(states(command)) == {"final"}


def test_an_answer_is_shown_for_as_long_as_it_is_kept(command: Command) -> None:
    published = command.run("publish", "inference.requested", "-", given=b'{"input": "hello you"}')
    request_id = published.out.strip()
    asked = command.run("ask", "another")
    assert asked.code == 0

    shown = command.run("requests", "show", request_id, "--json")

    assert shown.document["result"]["output"]["choices"][0]["message"]["content"] == "hello you"
    ended = command.run("requests", "list", "--state", "final", "--json").document
    assert request_id in [each["request_id"] for each in ended]


@pytest.mark.parametrize("arguments", [(), ("one", "--all"), ("--all", "--state", "final")])
def test_what_to_cancel_has_to_be_clear(nowhere: Command, arguments: tuple[str, ...]) -> None:
    refused = nowhere.run("requests", "cancel", *arguments)

    assert refused.code == 1
    assert "not said what to cancel" in refused.err


def test_an_unknown_request_and_a_plane_without_a_router_are_named(lonely: Command) -> None:
    assert "Nothing is known about nobody" in lonely.run("requests", "show", "nobody").err
    assert "No router runs" in lonely.run("requests", "cancel", "nobody").err
    assert lonely.run("queue", "--json").document["waiting"] == 0
    assert lonely.run("requests").out == "There are no such requests.\n"


def test_a_long_queue_is_sampled(own_store: Store, lonely: Command) -> None:
    many = 100_000
    with redis.Redis.from_url(own_store.url) as client, client.pipeline(transaction=False) as pipe:
        for first in range(0, many, 10_000):
            scores: dict[str | bytes, bytes | float | int | str] = {
                f"r{each}": each for each in range(first, first + 10_000)
            }
            pipe.zadd("rh:waiting:LOW", scores)
            for each in range(first, first + 10_000):
                record = {"state": "waiting", "priority": "LOW", "task": f"t{each % 2}"}
                pipe.hset(f"rh:request:r{each}", mapping=record)
            pipe.execute()

    document = lonely.run("queue", "--json").document

    assert document["kinds_sampled"] is True
    assert {each["task"]: each["waiting"] for each in document["kinds"]} == {
        "t0": many // 2,
        "t1": many // 2,
    }
