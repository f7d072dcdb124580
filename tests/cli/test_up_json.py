"""What `roundhouse up --json` tells a program."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.checkout import Checkout
from tests.servers import Store


def document(result: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    """Of a command that said nothing else to its standard output."""
    return json.loads(result.stdout)


def addresses(told: dict[str, Any]) -> dict[str, str]:
    return {row["name"]: row["address"] for row in told["processes"]}


def test_detached_it_is_one_document_and_progress_goes_elsewhere(checkout: Checkout) -> None:
    result = checkout.up("--detach", "--json")

    told = document(result)
    http = f"http://127.0.0.1:{checkout.port}"
    assert result.returncode == 0
    assert (told["started"], told["ready"]) == (True, True)
    assert (told["url"], told["openai_url"]) == (http, f"{http}/v1")
    assert told["logs"] == str(checkout.data / "logs")
    assert 0 < told["took_s"] < 60
    assert addresses(told) == {
        "supervisor": None,
        "valkey": told["store"],
        "router": f"http://127.0.0.1:{checkout.state().processes[1].port}",
        "gateway": http,
    }
    pids = {row["name"]: row["pid"] for row in told["processes"]}
    assert pids["supervisor"] == checkout.supervisor().pid
    assert pids["router"] == checkout.pid("router")
    assert "router             ready, port" in result.stderr
    assert "Roundhouse is up" not in result.stderr


def test_it_names_the_store_without_its_password_and_the_file_that_has_it(
    checkout: Checkout,
) -> None:
    result = checkout.up("--detach", "--json")

    told = document(result)
    state = checkout.state()
    password = state.redis_url.split(":")[2].partition("@")[0]
    assert password
    assert password not in result.stdout + result.stderr
    assert told["store"] == f"redis://127.0.0.1:{state.processes[0].port}/0"
    assert json.loads(Path(told["credentials"]).read_text())["redis_url"] == state.redis_url


def test_a_store_elsewhere_is_named_as_external(checkout: Checkout, own_store: Store) -> None:
    checkout.environment = {"REDIS_URL": own_store.url}

    told = document(checkout.up("--detach", "--json"))

    row = next(row for row in told["processes"] if row["name"] == "valkey")
    assert row == {"name": "valkey", "state": "external", "pid": None, "address": told["store"]}
    assert told["store"].endswith(f":{own_store.port}/0")


@pytest.mark.parametrize("how", [(), ("--detach",)], ids=["foreground", "detached"])
def test_where_it_runs_already_it_tells_of_that_one_and_fails(
    running: Checkout, how: tuple[str, ...]
) -> None:
    result = running.up("--json", *how)

    told = document(result)
    assert result.returncode == 1
    assert (told["started"], told["ready"], told["took_s"]) == (False, True, None)
    assert told["url"] == f"http://127.0.0.1:{running.port}"
    assert addresses(told)["gateway"] == told["url"]
    assert f"already runs here (process {running.supervisor().pid}" in result.stderr


@pytest.mark.parametrize("how", [(), ("--detach",)], ids=["foreground", "detached"])
def test_what_cannot_start_is_said_on_the_error_output_alone(
    checkout: Checkout, how: tuple[str, ...]
) -> None:
    checkout.environment = {"FAKE_ROUTER": "stillborn"}

    result = checkout.up("--json", *how)

    assert (result.returncode, result.stdout) == (1, "")
    assert "Error: router ended 3 times before it was ready" in result.stderr
    assert checkout.processes() == []


def test_in_the_foreground_it_keeps_on_running(checkout: Checkout) -> None:
    process = checkout.start("--json", output=subprocess.PIPE, errors=subprocess.DEVNULL)
    assert process.stdout is not None

    with process.stdout as said:
        assert json.loads(said.readline())["ready"]
        assert process.poll() is None
        assert checkout.status()["ready"]
        os.kill(process.pid, signal.SIGTERM)
        assert said.read() == ""
    assert process.wait(5) == 0


def test_a_program_that_does_not_read_progress_gets_its_document(checkout: Checkout) -> None:
    reading, writing = os.pipe()
    os.close(reading)

    process = checkout.start("--json", output=subprocess.PIPE, errors=writing)
    os.close(writing)

    assert process.stdout is not None
    with process.stdout as said:
        assert json.loads(said.readline())["ready"]
    assert process.poll() is None
