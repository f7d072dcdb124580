"""What `roundhouse up` starts, and what becomes of it."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from time import monotonic

import psutil
import redis
import redis.asyncio

from cli.supervisor.folder import DataFolder
from shared.bus.configuration import configuration_version
from tests.fakes.checkout import Checkout
from tests.servers import Store
from tests.waiting import until

STOPPED_WITHIN_S = 5.0


async def test_up_starts_the_store_then_the_services_then_the_gateway(checkout: Checkout) -> None:
    process = checkout.start()
    await until(checkout.is_up, 30)

    ready = re.findall(r"^  (\S+) +ready", checkout.said(), re.MULTILINE)
    assert ready == ["valkey", "router", "gateway"]
    assert f"http://127.0.0.1:{checkout.port}" in checkout.said()
    assert "./roundhouse ask" in checkout.said()
    assert process.poll() is None


async def test_ctrl_c_ends_everything_in_time(checkout: Checkout) -> None:
    process = checkout.start()
    await until(checkout.is_up, 30)

    os.kill(process.pid, signal.SIGINT)

    assert process.wait(STOPPED_WITHIN_S) == 0
    assert checkout.processes() == []


async def test_services_that_ignore_it_are_ended_in_time_too(checkout: Checkout) -> None:
    checkout.environment = {"FAKE_ROUTER": "stubborn", "FAKE_GATEWAY": "stubborn"}
    process = checkout.start()
    await until(checkout.is_up, 30)

    os.kill(process.pid, signal.SIGTERM)

    assert process.wait(STOPPED_WITHIN_S + 0.5) == 0
    assert checkout.processes() == []


async def test_a_second_ctrl_c_ends_them_at_once(checkout: Checkout) -> None:
    checkout.environment = {"FAKE_ROUTER": "stubborn", "FAKE_GATEWAY": "stubborn"}
    process = checkout.start()
    await until(checkout.is_up, 30)

    os.kill(process.pid, signal.SIGINT)
    await until(lambda: "Stopping" in checkout.said())
    asked_s = monotonic()
    os.kill(process.pid, signal.SIGINT)

    assert process.wait(STOPPED_WITHIN_S) == 0
    assert monotonic() - asked_s < 2.5
    assert checkout.processes() == []


async def test_ctrl_c_while_it_starts_ends_everything(checkout: Checkout) -> None:
    checkout.environment = {"FAKE_ROUTER": "busy"}
    process = checkout.start()
    await until(lambda: checkout.has_started("router"), 30)

    os.kill(process.pid, signal.SIGINT)

    assert process.wait(STOPPED_WITHIN_S) == 0
    assert checkout.processes() == []


async def test_a_closed_terminal_ends_everything(checkout: Checkout) -> None:
    process = checkout.start()
    await until(checkout.is_up, 30)

    os.kill(process.pid, signal.SIGHUP)

    assert process.wait(STOPPED_WITHIN_S) == 0
    assert checkout.processes() == []


async def test_it_goes_on_when_nobody_reads_what_it_says(checkout: Checkout) -> None:
    process = checkout.start(output=subprocess.PIPE)
    assert process.stdout is not None
    while "Roundhouse is up" not in process.stdout.readline():
        assert process.poll() is None
    process.stdout.close()

    os.kill(checkout.pid("router"), signal.SIGKILL)

    await until(lambda: checkout.status()["processes"][2]["restarts"] == 1, 20)
    assert process.poll() is None


async def test_a_crashed_service_is_started_again_and_shown(checkout: Checkout) -> None:
    checkout.start()
    await until(checkout.is_up, 30)
    before = checkout.pid("router")

    os.kill(before, signal.SIGKILL)

    await until(lambda: "router             ready again" in checkout.said(), 10)
    assert "router             was ended by SIGKILL; starts again in 0.5 s" in checkout.said()
    router = next(row for row in checkout.status()["processes"] if row["name"] == "router")
    assert router["restarts"] == 1
    assert router["pid"] != before


async def test_what_a_crashed_service_had_started_goes_with_it(checkout: Checkout) -> None:
    checkout.environment = {"FAKE_ROUTER": "parent"}
    checkout.start()
    await until(checkout.is_up, 30)
    child = psutil.Process(int((checkout.data / "services" / "child").read_text()))

    os.kill(checkout.pid("router"), signal.SIGKILL)

    await until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


async def test_everything_ends_with_a_supervisor_that_is_killed(checkout: Checkout) -> None:
    checkout.environment = {"FAKE_ROUTER": "parent"}
    process = checkout.start()
    await until(checkout.is_up, 30)
    assert len(checkout.processes()) == 4

    process.kill()
    process.wait()

    await until(lambda: checkout.processes() == [], STOPPED_WITHIN_S)


async def test_data_survive_that_everything_is_killed_with_the_guard_first(
    checkout: Checkout,
) -> None:
    process = checkout.start()
    await until(checkout.is_up, 30)
    url = checkout.state().redis_url
    with redis.Redis.from_url(url) as store:
        store.set("kept", "yes")
    for victim in [*checkout.guards(), checkout.supervisor()]:
        victim.kill()
    process.wait()
    os.kill(checkout.pid("valkey"), signal.SIGKILL)
    left = {checkout.pid("router"), checkout.pid("gateway")}
    await until(lambda: {each.pid for each in checkout.processes()} == left)

    result = checkout.up("--detach")

    assert "Ended 2 processes that an earlier run had left behind." in result.stdout
    assert checkout.state().redis_url == url, "ports and password are remembered"
    with redis.Redis.from_url(url) as store:
        assert store.get("kept") == b"yes"


async def test_the_configuration_comes_back_after_a_flushall(running: Checkout) -> None:
    url = running.state().redis_url
    await until(lambda: configuration_version(url))

    async with redis.asyncio.Redis.from_url(url) as store:
        await store.flushall()

    await until(lambda: configuration_version(url), 20)


def test_the_store_keeps_every_write_and_its_password_to_itself(running: Checkout) -> None:
    url = running.state().redis_url
    password = url.split(":")[2].partition("@")[0]
    folder = DataFolder(running.data)
    with redis.Redis.from_url(url) as store:
        settings = store.config_get("append*", "maxmemory*", "bind")

    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "everysec"
    assert settings["maxmemory-policy"] == "noeviction"
    assert 0 < int(settings["maxmemory"]) <= 1024**3
    assert settings["bind"] == "127.0.0.1"
    assert all(password not in " ".join(each.cmdline()) for each in running.processes())
    for private in ("valkey/password", "valkey/valkey.conf", "state.json"):
        assert (folder.root / private).stat().st_mode & 0o077 == 0, private


async def test_a_store_elsewhere_is_used_and_none_is_started(
    checkout: Checkout, own_store: Store
) -> None:
    checkout.environment = {"REDIS_URL": own_store.url}
    result = checkout.up("--detach")

    assert result.returncode == 0, result.stdout
    assert [row["name"] for row in checkout.status()["processes"]] == [
        "supervisor",
        "valkey",
        "router",
        "gateway",
    ]
    assert not (checkout.data / "valkey").exists()
    assert await configuration_version(own_store.url)


def test_compact_is_one_process_for_all_services(checkout: Checkout) -> None:
    checkout.up("--detach", "--compact")

    names = [row["name"] for row in checkout.status()["processes"]]
    assert names == ["supervisor", "valkey", "services"]


def test_detach_returns_when_all_is_ready_and_down_ends_it(checkout: Checkout) -> None:
    result = checkout.up("--detach")
    assert result.returncode == 0
    assert "Roundhouse is up" in result.stdout
    assert checkout.status()["ready"]

    ended = checkout.run("down")

    assert ended.stdout == "Stopping\nStopped.\n"
    assert checkout.processes() == []
    assert checkout.run("down").stdout == f"Nothing runs from {checkout.data}.\n"
    assert checkout.run("status").returncode == 1


def test_what_a_detached_supervisor_notices_is_in_its_log(running: Checkout) -> None:
    assert (running.data / "logs" / "supervisor.log").exists()
    assert running.supervisor().terminal() is None


def test_a_relative_data_folder_is_that_of_the_shell(checkout: Checkout, tmp_path: Path) -> None:
    checkout.data = Path(os.path.relpath(tmp_path / "data"))
    result = checkout.up("--detach")
    checkout.data = tmp_path / "data"

    assert result.returncode == 0, result.stdout
    assert checkout.status()["ready"]


async def test_everything_ends_with_the_data_folder(checkout: Checkout) -> None:
    process = checkout.start()
    await until(checkout.is_up, 60)
    await until(lambda: len(checkout.processes()) == 3)

    shutil.rmtree(checkout.data)

    await until(lambda: process.poll() is not None, 30)
    assert process.returncode == 1
    assert f"The data folder {checkout.data} is gone" in checkout.said()
    assert checkout.processes() == []
    assert "Nothing runs from" in checkout.run("status").stdout
