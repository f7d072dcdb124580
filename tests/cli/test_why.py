"""`why`, asked about requests in every state."""

import json
import re
from pathlib import Path
from typing import Any

import redis

from tests.fakes.command import Command
from tests.fakes.plane import SLOTS, Plane
from tests.servers import Store
from tests.waiting import until


def asked(command: Command, *arguments: str) -> str:
    """Ask something that ends; the id of its request."""
    request_id = command.run("ask", *arguments, "--json").document["request_id"]
    assert isinstance(request_id, str)
    return request_id


def published(command: Command, request: dict[str, Any]) -> str:
    given = json.dumps(request).encode()
    return command.run("publish", "inference.requested", "-", given=given).out.strip()


def story(command: Command, request_id: str) -> dict[str, Any]:
    told = command.run("why", request_id, "--json")
    return told.document if told.code == 0 else {"state": None}


def cancel(command: Command, request_id: str) -> None:
    given = json.dumps({"request_id": request_id, "reason": "changed my mind"}).encode()
    assert command.run("publish", "inference.cancel_requested", "-", given=given).code == 0


def test_a_completed_request_tells_where_its_time_went(command: Command) -> None:
    request_id = asked(command, "one two three", "--model", "slow")

    told = command.run("why", request_id)
    document = story(command, request_id)

    first, *steps = told.out.splitlines()
    assert first.startswith("completed: ")
    assert "slow on local" in first
    assert "attempt 1 to slow on local" in "\n".join(steps)
    assert document.keys() == {
        *("request_id", "state", "outcome", "sentence", "total_ms", "parts"),
        *("model", "node", "attempts", "steps"),
    }
    assert sum(document["parts"].values()) == document["total_ms"]
    assert document["parts"]["running"] >= 600
    assert document["steps"][-1]["what"] == "completed"


def test_a_wait_for_a_model_to_load_is_told_from_a_wait_for_a_slot(command: Command) -> None:
    request_id = asked(command, "hello", "--model", "heavy")

    document = story(command, request_id)
    command.run("models", "unload", "heavy")

    assert document["parts"]["loading"] >= 500
    assert re.match(r"completed: \S+ m?s = \S+ m?s loading \+ ", document["sentence"])
    assert any("heavy is ready on local after" in step["what"] for step in document["steps"])


def test_a_failed_attempt_has_its_own_share_and_its_reason(command: Command) -> None:
    request_id = asked(command, "one two three", "--task", "risky")

    document = story(command, request_id)
    command.run("models", "unload", "heavy")

    assert document["attempts"] == 2
    assert "heavy on local, attempt 2" in document["sentence"]
    assert any("crashed: the engine is gone" in step["what"] for step in document["steps"])
    assert sum(document["parts"].values()) == document["total_ms"]


def test_a_failure_says_its_reason_and_message(command: Command) -> None:
    request_id = asked(command, "hello", "--model", "hang", "--deadline-s", "0.5")

    sentence = story(command, request_id)["sentence"]

    assert sentence.startswith("failed (deadline): ")
    assert " ms = " in sentence


def test_a_refusal_says_its_reason_and_message(command: Command) -> None:
    request_id = asked(command, "hello", "--model", "nope")

    document = story(command, request_id)

    assert document["outcome"] == "rejected"
    assert document["sentence"].startswith("rejected (unknown_model): no model 'nope'")
    assert [step["what"] for step in document["steps"]] == ["rejected unknown_model"]


async def test_a_running_request_says_where_and_a_cancelled_one_how_far_it_came(
    command: Command,
) -> None:
    request_id = published(command, {"input": "hello", "model": "hang", "priority": "LOW"})
    await until(lambda: story(command, request_id)["state"] == "running")
    sentence = story(command, request_id)["sentence"]

    cancel(command, request_id)
    await until(lambda: story(command, request_id)["state"] == "final")

    assert sentence.startswith("running on local with hang, attempt 1: ")
    assert sentence.endswith(" left")
    assert "cancelled: changed my mind" in story(command, request_id)["sentence"]


async def test_a_waiting_request_says_for_what(command: Command) -> None:
    request = {"input": "hello", "model": "hang"}
    requests = [published(command, request) for _ in range(SLOTS + 1)]
    await until(lambda: story(command, requests[-1])["state"] == "waiting")

    sentence = story(command, requests[-1])["sentence"]
    for request_id in requests:
        cancel(command, request_id)

    assert "as NORMAL for task chat, for a slot of hang (ready on local, " in sentence


async def test_a_request_for_a_model_that_does_not_load_says_why_and_ends_before_its_deadline(
    command: Command,
) -> None:
    request_id = published(command, {"input": "hello", "model": "unloadable"})

    what = "for a slot of unloadable (not loaded, offered by local, where its last load failed: "
    await until(lambda: what + "does not fit" in story(command, request_id)["sentence"])
    await until(lambda: story(command, request_id)["state"] == "final", timeout_s=40)
    sentence = story(command, request_id)["sentence"]
    later = story(command, asked(command, "hello", "--model", "unloadable"))["sentence"]

    why = "unloadable cannot be had (local: 3 loads failed, the last one so: does not fit)"
    assert sentence.startswith(f"failed (no_eligible_node): {why}")
    assert later.startswith(f"rejected (no_eligible_node): {why}")
    assert "last load failed: does not fit" in command.run("models").out


async def test_a_request_for_what_fits_nowhere_or_is_missing_is_refused_with_the_reason(
    command: Command,
) -> None:
    giant = story(command, asked(command, "hello", "--model", "giant"))["sentence"]
    mislaid = story(command, asked(command, "hello", "--model", "mislaid"))["sentence"]

    needs = "it needs 100000 MiB, and there are 1000 MiB for models"
    assert giant.startswith(f"rejected (no_eligible_node): giant cannot be had (local: {needs})")
    file = "/models/mislaid.gguf cannot be read: no such file"
    assert f"mislaid cannot be had (local: {file})" in mislaid


def test_a_chain_passes_over_what_cannot_be_loaded(command: Command) -> None:
    request_id = asked(command, "the site is down", "--task", "hopeful")

    document = story(command, request_id)

    assert document["outcome"] == "completed"
    assert document["model"] == "heuristic:tickets"


def test_a_request_that_is_unknown_is_said_to_be(command: Command) -> None:
    told = command.run("why", "nobody-s")

    assert (told.code, told.out) == (1, "")
    assert "Nothing is known about nobody-s." in told.err


def test_a_request_that_no_router_has_read_is_told_from_an_unknown_one(lonely: Command) -> None:
    request_id = published(lonely, {"input": "hello"})

    told = lonely.run("why", request_id)

    assert told.code == 1
    assert "is published, and no router runs that could admit it" in told.err


def test_that_holds_for_the_inboxes_of_producers_too(
    lonely: Command, own_store: Store, tmp_path: Path
) -> None:
    config = tmp_path / "producers.yaml"
    config.write_text("producers: [crm]\n")
    assert lonely.run("apply", str(config)).code == 0
    with redis.Redis.from_url(own_store.url) as store:
        store.xadd("rh:inference.requested.v1:crm", {"id": "ticket-1", "data": "{}"})

    told = lonely.run("why", "ticket-1")

    assert told.code == 1
    assert "ticket-1 is published, and no router runs that could admit it" in told.err


async def test_a_request_cancelled_before_it_came_is_known_as_such(command: Command) -> None:
    cancel(command, "early-bird")
    await until(lambda: story(command, "early-bird")["state"] is not None)

    told = command.run("why", "early-bird")

    assert (told.code, told.out) == (0, "cancelled before it was admitted\n")


def test_a_message_from_elsewhere_cannot_steer_the_terminal(
    plane: Plane, command: Command, tmp_path: Path
) -> None:
    request_id = asked(command, "hello", "--task", "chat", "--model", "echo")
    with redis.Redis.from_url(plane.url) as client:
        client.hset(f"rh:request:{request_id}", mapping={"outcome": "failed", "reason": "\x1b[2J"})

    told = command.run("why", request_id)

    assert "\x1b" not in told.out
    assert "\\x1b[2J" in told.out
