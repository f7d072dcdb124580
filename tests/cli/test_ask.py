"""`ask`, as a person and as a script meet it."""

from pathlib import Path

import pytest
import redis

from tests.fakes.command import Command
from tests.fakes.plane import Plane
from tests.servers import Store
from tests.waiting import until

MIB = 1024 * 1024

ENDLESS = " ".join(["one"] * 300)
"""Of the slow model a minute: nobody comes too late to stop it."""


def cancelled(plane: Plane) -> int:
    with redis.Redis.from_url(plane.url) as client:
        return int(client.xlen("rh:inference.cancelled.v1"))


def test_the_answer_goes_to_the_output_and_the_rest_to_the_error_output(command: Command) -> None:
    asked = command.run("ask", "why is the sky blue")

    assert (asked.code, asked.out) == (0, "why is the sky blue\n")
    assert "echo on local" in asked.err
    assert "./roundhouse why" in asked.err


def test_the_whole_answer_is_printed_without_streaming_too(command: Command) -> None:
    asked = command.run("ask", "why is the sky blue", "--no-stream")

    assert (asked.code, asked.out) == (0, "why is the sky blue\n")


def test_json_says_how_it_ended_and_all_that_explains_it(command: Command) -> None:
    asked = command.run("ask", "one two", "--model", "slow", "--json")

    assert asked.document["outcome"] == "completed"
    assert asked.document["output"]["choices"][0]["message"]["content"] == "one two"
    assert asked.document.keys() > {"request_id", "model", "node", "usage", "timings", "attempt"}
    assert asked.err == ""


def test_a_question_may_come_from_the_input(command: Command) -> None:
    asked = command.run("ask", "-", given="Grüße\nund mehr".encode())

    assert asked.out == "Grüße und mehr\n"


def test_a_question_too_large_for_an_entry_keeps_its_task(command: Command) -> None:
    ticket = b"I was charged twice. " + b"Please hurry. " * 30_000

    asked = command.run("ask", "-", "--task", "classify", given=ticket)

    assert (asked.code, asked.out) == (0, "billing\n")
    assert "by rules" in asked.err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (b" \n", "The question is empty"),
        (b"caf\xe9\n", "not UTF-8 text: byte 4, in line 1"),
        (b"x" * (17 * MIB), "larger than 16 MiB"),
    ],
    ids=["empty", "latin-1", "17-mib"],
)
def test_an_input_that_cannot_be_asked_is_refused_with_the_reason(
    nowhere: Command, given: bytes, said: str
) -> None:
    asked = nowhere.run("ask", "-", given=given)

    assert (asked.code, asked.out) == (1, "")
    assert said in asked.err


def test_an_argument_that_is_not_utf_8_is_refused(nowhere: Command) -> None:
    asked = nowhere.run("ask", "caf\udce9")

    assert asked.code == 1
    assert "not UTF-8: character 4" in asked.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--model", "nope"), "rejected (unknown_model)"),
        (("--task", "nope"), "choose one of assess, chat"),
        (("--task", "no such"), "task: this is not a name"),
    ],
    ids=["unknown-model", "unknown-task", "no-name"],
)
def test_what_nobody_can_answer_is_refused_with_the_reason(
    command: Command, options: tuple[str, str], said: str
) -> None:
    asked = command.run("ask", "hello", *options)

    assert (asked.code, asked.out) == (1, "")
    assert said in asked.err


def test_a_refusal_is_a_document_too(command: Command) -> None:
    asked = command.run("ask", "hello", "--model", "nope", "--json")

    assert asked.code == 1
    assert (asked.document["outcome"], asked.document["reason"]) == ("rejected", "unknown_model")


def test_an_answer_that_breaks_off_is_followed_by_an_error(command: Command) -> None:
    asked = command.run("ask", "one two three", "--model", "crash")

    assert (asked.code, asked.out) == (1, "one two\n")
    assert "failed (after_first_byte)" in asked.err


def test_a_long_silence_is_explained_and_ends_with_the_deadline(command: Command) -> None:
    asked = command.run("ask", "hello", "--model", "hang", "--deadline-s", "3.5")

    assert asked.code == 1
    assert "Waiting; ./roundhouse why" in asked.err
    assert "failed (deadline)" in asked.err


async def test_ctrl_c_cancels_the_request(plane: Plane, command: Command) -> None:
    before = cancelled(plane)
    asking = command.start("ask", ENDLESS, "--model", "slow")
    await until(lambda: "one" in asking.out, timeout_s=20)

    asking.interrupt()
    asked = asking.finish()

    assert asked.code == 130
    assert "Traceback" not in asked.err
    await until(lambda: cancelled(plane) > before, timeout_s=20)


async def test_a_reader_that_leaves_cancels_the_request(plane: Plane, command: Command) -> None:
    before = cancelled(plane)
    asking = command.spawn("ask", ENDLESS, "--model", "slow")
    assert asking.stdout is not None
    assert asking.stderr is not None

    assert asking.stdout.read(3) == "one"
    asking.stdout.close()
    said = asking.stderr.read()

    assert asking.wait() == 1
    assert said == "" or said.startswith("(Waiting; ./roundhouse why")
    assert "Traceback" not in said
    await until(lambda: cancelled(plane) > before, timeout_s=20)
    asking.stderr.close()
    assert asking.stdin is not None
    asking.stdin.close()


async def test_a_reader_that_left_before_the_answer_began_cancels_it_too(
    plane: Plane, command: Command
) -> None:
    before = cancelled(plane)
    asking = command.spawn("ask", "one two three four five six", "--model", "hang", "--json")
    assert asking.stdout is not None

    asking.stdout.close()

    assert asking.wait(30) == 1
    assert asking.communicate()[1] == ""
    await until(lambda: cancelled(plane) == before + 1)


async def test_an_answer_that_cannot_be_written_cancels_the_request(
    plane: Plane, command: Command
) -> None:
    before = cancelled(plane)

    asking = command.spawn("ask", "one two", "--model", "slow", shell='exec "$@" > /dev/full')
    said = asking.communicate()[1]

    assert asking.returncode == 1
    assert said.startswith("Error: The output could not be written: No space left on device.")
    await until(lambda: cancelled(plane) == before + 1)


def test_what_the_output_s_encoding_lacks_is_replaced(command: Command) -> None:
    command.environment = {"PYTHONIOENCODING": "latin-1"}
    asking = command.spawn("ask", "one 日 two")

    assert asking.communicate()[0] == "one ? two\n"


def test_a_closed_output_is_nowhere(command: Command) -> None:
    asked = command.spawn("ask", "hello", shell='"$@" >&- 2>&-')

    assert asked.communicate() == ("", "")
    assert asked.returncode == 0


def test_where_nothing_runs_the_person_is_told_how_to_start_it(tmp_path: Path) -> None:
    asked = Command(tmp_path, None).run("ask", "hello")

    assert asked.code == 1
    assert "Nothing runs from" in asked.err
    assert "./roundhouse up" in asked.err


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://:geheim@127.0.0.1:1/0", "No store answers at redis://127.0.0.1:1/0"),
        ("localhost:6379", "REDIS_URL is no address of a store"),
    ],
    ids=["nobody-listens", "no-url"],
)
def test_a_store_that_is_not_there_is_named_without_its_password(
    tmp_path: Path, url: str, said: str
) -> None:
    asked = Command(tmp_path, url).run("ask", "hello")

    assert asked.code == 1
    assert said in asked.err
    assert "geheim" not in asked.err
    assert "Traceback" not in asked.err


def test_a_wrong_password_is_told_from_a_store_that_is_down(tmp_path: Path) -> None:
    store = Store(tmp_path / "store").start()
    try:
        with redis.Redis.from_url(store.url) as client:
            client.config_set("requirepass", "right")
        wrong = f"redis://:wrong@127.0.0.1:{store.port}/0"
        asked = [Command(tmp_path, url).run("ask", "hello") for url in (store.url, wrong)]
    finally:
        store.stop()

    assert [each.code for each in asked] == [1, 1]
    assert all("refused the password" in each.err for each in asked)
