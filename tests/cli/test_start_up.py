"""What the command imports, and what happens until it has."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.app import COMMANDS
from tests.fakes.command import ROOT, Command
from tests.waiting import until

HEAVY = {"redis", "faststream", "rich", "structlog", "httpx", "yaml", "aiohttp", "psycopg"}


def imported(program: str) -> set[str]:
    """Packages that are there after a program has run."""
    said = subprocess.run(
        [sys.executable, "-P", "-c", f"{program}\nprint(*sys.modules, file=sys.stderr)"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.partition(".")[0] for name in said.stderr.split()}


def running(*arguments: str) -> str:
    return (
        "import contextlib, sys; from cli.app import main\n"
        f"with contextlib.suppress(SystemExit): main({arguments!r})"
    )


@pytest.mark.parametrize("arguments", [("--help",), ("ask", "--help"), ("down", "--help")])
def test_help_imports_nothing_that_takes_long(arguments: tuple[str, ...]) -> None:
    assert imported(running(*arguments)) & HEAVY == set()


def test_asking_imports_the_store_s_client_and_nothing_else_that_takes_long() -> None:
    assert imported("import sys, cli.conversation") & HEAVY == {"redis"}


def test_the_supervisor_stays_small() -> None:
    """It runs for weeks, beside everything that it starts."""
    program = "import sys, cli.supervisor.become, cli.supervisor.run"

    assert imported(program) & {*HEAVY, "pydantic", "typer", "dotenv"} == set()


def test_help_lists_every_command_with_what_it_does(nowhere: Command) -> None:
    lines = nowhere.run("--help").out.partition("Commands:")[2].splitlines()

    listed = {words[0]: words[1:] for line in lines if (words := line.split())}
    assert listed.keys() >= COMMANDS.keys()
    assert all(listed[name] for name in COMMANDS)


async def test_ctrl_c_while_it_starts_ends_it_without_a_trace(
    nowhere: Command, tmp_path: Path
) -> None:
    """A package of that name stands before the real one, and takes its time."""
    begun = tmp_path / "begun"
    slow = f"import pathlib, time\npathlib.Path({str(begun)!r}).touch()\ntime.sleep(60)\n"
    (tmp_path / "typer.py").write_text(slow)
    nowhere.environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    starting = nowhere.spawn("status")
    await until(begun.exists, 20)

    starting.send_signal(signal.SIGINT)

    assert starting.communicate() == ("", "")
    assert starting.returncode == -signal.SIGINT
