"""`run`: a file of requests is asked to its end, whatever comes in between."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from shared.config import PriorityConfig
from shared.events.base import Priority
from tests.fakes.command import Command, Started
from tests.fakes.plane import CONFIG, Plane
from tests.waiting import until

MANY = 600


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


@pytest.fixture
def store(plane: Plane) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(plane.url) as client:
        yield client


def requests(folder: Path, count: int, **more: Any) -> Path:
    """A file of its own content: the same lines elsewhere would be the same requests."""
    file = folder / "requests.jsonl"
    lines = [json.dumps({"input": f"{folder.name} {each}"} | more) for each in range(1, count + 1)]
    file.write_text("\n".join(lines) + "\n")
    return file


def results(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text().splitlines()]


def written(out: Path, count: int) -> Callable[[], bool]:
    return lambda: out.exists() and out.read_bytes().count(b"\n") >= count


def started(store: redis.Redis) -> int:
    information: Any = store.xinfo_stream("rh:inference.started.v1")
    return int(information["entries-added"])


def kill(running: Started) -> None:
    assert running.process.pid is not None
    os.kill(running.process.pid, signal.SIGKILL)
    running.process.join()


def test_every_request_gets_one_line_with_all_that_is_known(
    command: Command, tmp_path: Path, out: Path
) -> None:
    file = requests(tmp_path, 20)

    ran = command.run("run", str(file), "--out", str(out))

    assert ran.code == 0, ran.err
    assert "20 results: 20 completed" in ran.out
    assert "20 of 20 requests asked in" in ran.out
    assert sorted(each["line"] for each in results(out)) == list(range(1, 21))
    for each in results(out):
        text = each["output"]["choices"][0]["message"]["content"]
        assert text == f"{tmp_path.name} {each['line']}"
        assert each.keys() >= {"id", "request_id", "usage", "timings"}
        assert (each["outcome"], each["model"], each["node"]) == ("completed", "echo", "local")


async def test_killed_twice_it_goes_on_and_nothing_is_asked_twice(
    command: Command, store: redis.Redis, tmp_path: Path, out: Path
) -> None:
    arguments = ("run", str(requests(tmp_path, MANY)), "--out", str(out))
    before = started(store)
    for share in (MANY // 4, MANY // 2):
        running = command.start(*arguments)
        await until(written(out, share), 60)
        kill(running)
        with out.open("ab") as torn:
            torn.write(b'{"line":1,"id":"a half')

    ran = command.start(*arguments, "--json").finish(90)

    assert ran.code == 0, ran.err
    assert ran.document["outcomes"] == {"completed": MANY}
    assert ran.document["earlier"] >= MANY // 2
    assert sorted(each["line"] for each in results(out)) == list(range(1, MANY + 1))
    assert started(store) == before + MANY


async def test_ctrl_c_asks_nothing_more_and_says_how_to_go_on(
    command: Command, tmp_path: Path, out: Path
) -> None:
    file = requests(tmp_path, 12, model="slow")
    running = command.start("run", str(file), "--out", str(out), "--concurrency", "4")
    await until(written(out, 1), 20)

    running.interrupt()
    stopped = running.finish()

    assert stopped.code == 130
    assert "Run the same command again" in stopped.err
    assert len(results(out)) < 12
    ran = command.run("run", str(file), "--out", str(out))
    assert ran.code == 0, ran.err
    assert "12 results: 12 completed" in ran.out
    assert "had ended before" in ran.out


def test_where_all_is_done_no_store_is_needed(
    command: Command, nowhere: Command, tmp_path: Path, out: Path
) -> None:
    file = requests(tmp_path, 3)
    assert command.run("run", str(file), "--out", str(out)).code == 0

    ran = nowhere.run("run", str(file), "--out", str(out), "--json")

    assert ran.code == 0
    assert (ran.document["asked"], ran.document["earlier"]) == (0, 3)


def test_requests_may_come_from_the_input_and_have_ids_of_their_own(
    command: Command, tmp_path: Path, out: Path
) -> None:
    name = tmp_path.name.replace("_", "-")[-40:].lstrip("-")
    given = f'\n{{"id": "{name}:1", "input": "one", "priority": "HIGH"}}\r\n'.encode()

    ran = command.run("run", "-", "--out", str(out), given=given)

    assert ran.code == 0, ran.err
    (result,) = results(out)
    assert (result["line"], result["id"]) == (2, f"{name}:1")
    assert "admitted as HIGH" in command.run("why", f"{name}:1").out


def test_options_stand_in_for_what_the_lines_say(
    command: Command, tmp_path: Path, out: Path
) -> None:
    file = requests(tmp_path, 1, task="summarise", priority="LOW")
    options = ("--task", "classify", "--priority", "critical")

    command.run("run", str(file), "--out", str(out), *options)

    (result,) = results(out)
    assert result["model"] == "heuristic:tickets"
    assert result["degraded"] is True
    told = command.run("why", result["request_id"]).out
    assert "admitted as CRITICAL for task classify" in told


def test_a_request_without_an_answer_has_a_line_that_says_why(
    command: Command, tmp_path: Path, out: Path
) -> None:
    file = requests(tmp_path, 2, model="nope")

    ran = command.run("run", str(file), "--out", str(out))

    assert ran.code == 1
    assert "2 results: 2 rejected" in ran.out
    assert "without an answer because of: unknown_model (2)" in ran.out
    assert results(out)[0]["error"]["reason"] == "unknown_model"
    assert "nope" in results(out)[0]["error"]["message"]


def test_what_failed_is_asked_anew_only_on_demand_and_has_one_line_again(
    command: Command, tmp_path: Path, out: Path
) -> None:
    file = requests(tmp_path, 3, model="slow", input="one two three four five six seven eight")
    arguments = ("run", str(file), "--out", str(out))
    failed = command.run(*arguments, "--deadline", "0.2")
    assert "3 results: 3 failed" in failed.out
    assert command.run(*arguments, "--json").document["asked"] == 0

    ran = command.run(*arguments, "--retry-failed", "--deadline", "30")

    assert ran.code == 0, ran.err
    assert "3 results: 3 completed" in ran.out
    assert sorted(each["line"] for each in results(out)) == [1, 2, 3]


async def test_requests_for_which_there_is_no_room_wait_until_there_is(
    plane: Plane, command: Command, tmp_path: Path, out: Path
) -> None:
    narrow = PriorityConfig(deadline_s=60, wait_bound_s=2, backlog=2)
    priorities = {**CONFIG.priorities, Priority.CRITICAL: narrow}
    quick = requests(tmp_path, 100, priority="CRITICAL")
    command.run("run", str(quick), "--out", str(tmp_path / "quick"))  # so that the rate is known
    file = requests(tmp_path, 60, model="slow", priority="CRITICAL")
    with plane.configured(CONFIG.model_copy(update={"priorities": priorities})):
        ran = command.start("run", str(file), "--out", str(out)).finish(90)

    assert ran.code == 0, ran.err
    assert "60 results: 60 completed" in ran.out
    assert "waiting: 2 requests of priority CRITICAL wait already" in ran.err
    assert len({each["request_id"] for each in results(out)}) == 60


async def test_a_full_store_is_waited_for(
    store: redis.Redis, command: Command, tmp_path: Path, out: Path
) -> None:
    file = requests(tmp_path, 5)
    limit = store.config_get("maxmemory")["maxmemory"]
    store.config_set("maxmemory", 1024 * 1024)
    try:
        running = command.start("run", str(file), "--out", str(out))
        await until(lambda: "waiting: the store's memory is full" in running.err, 20)
    finally:
        store.config_set("maxmemory", limit)

    ran = running.finish(90)

    assert ran.code == 0, ran.err
    assert "5 results: 5 completed" in ran.out


async def test_without_a_router_it_waits_and_says_so(
    lonely: Command, tmp_path: Path, out: Path
) -> None:
    running = lonely.start("run", str(requests(tmp_path, 2)), "--out", str(out))

    await until(lambda: "waiting: no router runs on this store" in running.err, 30)

    running.interrupt()
    assert running.finish().code == 130
    assert results(out) == []
