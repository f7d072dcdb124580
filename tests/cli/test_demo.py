"""`demo`: the examples run end to end."""

from pathlib import Path

import redis

from tests.fakes.command import Command
from tests.fakes.plane import Plane
from tests.waiting import until

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_all_examples_are_answered(command: Command) -> None:
    lines = sum(len(file.read_text().splitlines()) for file in EXAMPLES.glob("*.jsonl"))

    shown = command.run("demo")

    assert shown.code == 0, shown.out
    assert f"{lines} of {lines} completed." in shown.out
    assert "heuristic:tickets on local" in shown.out


def test_tickets_get_the_labels_that_a_person_would_give_them(command: Command) -> None:
    shown = command.run("demo", str(EXAMPLES / "classify.jsonl"), "--json")

    labels = [each["output"]["choices"][0]["message"]["content"] for each in shown.document]
    assert labels == ["billing", "outage", "login", "feature", "other"]
    assert [each["example"] for each in shown.document][:2] == ["classify 1", "classify 2"]
    assert all(each["outcome"] == "completed" and each["degraded"] for each in shown.document)


def test_one_that_fails_is_shown_and_the_exit_code_says_so(
    command: Command, tmp_path: Path
) -> None:
    file = tmp_path / "mixed.jsonl"
    file.write_text('{"input": "one"}\n\n{"input": "one two three", "model": "nope"}\n')

    shown = command.run("demo", str(file), "--times", "2")

    assert shown.code == 1
    assert "2 of 4 completed." in shown.out
    assert shown.out.count("mixed 3  rejected (unknown_model)") == 2


def test_a_line_that_is_no_request_is_named(nowhere: Command, tmp_path: Path) -> None:
    file = tmp_path / "broken.jsonl"
    file.write_text('{"input": "one"}\n{"inputs": "two"}\n')

    shown = nowhere.run("demo", str(file))

    assert shown.code == 1
    assert f"{file}:2 is no inference.requested.v1: input: Field required" in shown.err


def test_a_file_without_requests_is_nothing_to_run(nowhere: Command, tmp_path: Path) -> None:
    file = tmp_path / "empty.jsonl"
    file.write_text("\n")

    shown = nowhere.run("demo", str(file))

    assert shown.code == 1
    assert "nothing to run" in shown.err


async def test_ctrl_c_cancels_all_that_runs(plane: Plane, command: Command, tmp_path: Path) -> None:
    file = tmp_path / "slow.jsonl"
    file.write_text('{"input": "one two three four five six seven eight", "model": "slow"}\n' * 3)
    with redis.Redis.from_url(plane.url) as client:
        cancelled, started = (
            client.xlen(f"rh:inference.{name}.v1") for name in ("cancelled", "started")
        )
        running = command.start("demo", str(file))
        await until(lambda: client.xlen("rh:inference.started.v1") == started + 3)

        running.interrupt()

        assert running.finish().code == 130
        await until(lambda: client.xlen("rh:inference.cancelled.v1") == cancelled + 3)
