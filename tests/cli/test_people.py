"""What all commands for people have in common."""

import pytest

from cli.app import COMMANDS
from cli.columns import columns, visible
from tests.fakes.command import Command

FOR_PEOPLE = (
    "up",
    "ask",
    "publish",
    "models",
    "models load",
    "models unload",
    "why",
    "dlq list",
    "dlq show",
    "dlq replay",
    "dlq drop",
    "notify list",
    "notify test",
    "notify redeliver",
    "check",
    "apply",
    "demo",
    "run",
    "queue",
    "queue show",
    "requests",
    "requests list",
    "requests show",
    "requests cancel",
    "down",
    "status",
    "logs",
    "doctor",
    "audit search",
    "audit show",
    "contracts",
)


@pytest.mark.parametrize("name", FOR_PEOPLE)
def test_help_has_an_example_and_names_json(nowhere: Command, name: str) -> None:
    helped = nowhere.run(*name.split(), "--help")

    assert helped.code == 0
    assert f"./roundhouse {name}" in helped.out
    assert "Example: " in helped.out
    assert "--json" in helped.out


def test_no_command_is_left_out() -> None:
    assert {name.split()[0] for name in FOR_PEOPLE} == COMMANDS.keys()


def test_the_command_starts_as_a_program_of_its_own(command: Command) -> None:
    asking = command.spawn("ask", "-")

    said, noted = asking.communicate("hello from a pipe")

    assert (asking.returncode, said) == (0, "hello from a pipe\n")
    assert "./roundhouse why" in noted


@pytest.mark.parametrize(
    "name", ["why", "dlq show", "notify test", "models load", "demo", "check", "ask"]
)
def test_an_argument_that_is_not_utf_8_is_refused_with_a_message(
    nowhere: Command, name: str
) -> None:
    refused = nowhere.run(*name.split(), "caf\udce9")

    assert refused.code == 1
    assert "Traceback" not in refused.err


def test_a_command_that_does_not_exist_is_a_wrong_usage(nowhere: Command) -> None:
    assert nowhere.run("aks", "hello").code == 2


def test_a_table_cuts_nothing_off_and_keeps_a_line_a_row() -> None:
    table = columns(("id", "reason"), [("1" * 200, "a\nb"), ("2", "\x1b[2J")])

    assert table.splitlines() == [
        "id" + " " * 200 + "reason",
        "1" * 200 + "  a b",
        "2" + " " * 201 + "\\x1b[2J",
    ]


def test_text_for_a_terminal_keeps_its_lines_and_loses_its_controls() -> None:
    assert visible("a\n\tb\x07\x9b\r") == "a\n\tb\\x07\\x9b\\x0d"
