"""`roundhouse status` and `roundhouse logs` on what runs."""

import json
import sys

import pytest

from cli.supervisor.process import LOG_LIMIT_BYTES, open_log
from tests.fakes.checkout import Checkout
from tests.waiting import until


def test_status_shows_every_process_with_its_memory(running: Checkout) -> None:
    status = running.status()

    rows = {row["name"]: row for row in status["processes"]}
    assert list(rows) == ["supervisor", "valkey", "router", "gateway"]
    assert rows["gateway"]["port"] == running.port
    assert rows["router"]["pid"] == running.pid("router")
    assert all(row["state"] == "ready" for row in rows.values())
    assert all(row["usage"]["rss_mib"] > 1 for row in rows.values())
    assert all(row["usage"]["uptime_s"] > 0 for row in rows.values())
    ours = [row["usage"]["rss_mib"] for row in rows.values() if not row["store"]]
    assert status["rss_mib"] == pytest.approx(sum(ours))
    assert status["url"] == f"http://127.0.0.1:{running.port}"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_shared_memory_counts_once_in_the_total(running: Checkout) -> None:
    status = running.status()

    assert 0 < status["pss_mib"] < status["rss_mib"]


def test_status_is_readable_and_shows_no_password(running: Checkout) -> None:
    result = running.run("status")

    assert result.returncode == 0
    assert "gateway" in result.stdout
    assert f"HTTP:   http://127.0.0.1:{running.port}" in result.stdout
    password = running.state().redis_url.split(":")[2].partition("@")[0]
    assert password not in result.stdout + str(running.status())


def test_status_without_anything_running_says_so_and_fails(checkout: Checkout) -> None:
    result = checkout.run("status")

    assert result.returncode == 1
    assert result.stdout == f"Nothing runs from {checkout.data}. Start it with ./roundhouse up\n"
    assert checkout.status()["running"] is False


def test_logs_show_the_last_lines_of_every_process(running: Checkout) -> None:
    result = running.run("logs", "-n", "1")

    labels = [line.split("|")[0].strip() for line in result.stdout.splitlines()]
    assert {"gateway", "router", "valkey"} <= set(labels)
    assert len(labels) == len(set(labels))


def test_logs_of_one_process_are_its_lines_as_they_are(running: Checkout) -> None:
    result = running.run("logs", "valkey", "-n", "100")

    assert "Ready to accept connections" in result.stdout
    assert "|" not in result.stdout


def test_logs_are_objects_for_programs(running: Checkout) -> None:
    lines = running.run("logs", "--json", "-n", "3").stdout.splitlines()

    told = [json.loads(line) for line in lines]
    assert {each["process"] for each in told} >= {"valkey", "router"}
    assert all(each["line"] for each in told)


def test_logs_of_an_unknown_process_name_the_known_ones(running: Checkout) -> None:
    result = running.run("logs", "ruoter")

    assert result.returncode == 1
    assert "There is no log of ruoter" in result.stderr
    assert "gateway, router, supervisor, valkey" in result.stderr


async def test_followed_logs_go_on_in_the_file_that_takes_over(checkout: Checkout) -> None:
    log = checkout.data / "logs" / "router.log"
    log.parent.mkdir(parents=True)
    log.write_text("first\n")
    checkout.follow("logs", "router", "-f")
    await until(lambda: checkout.said() == "first\n", 10)

    with log.open("a") as grown:
        grown.write("second\n")
    await until(lambda: checkout.said() == "first\nsecond\n")
    log.rename(log.with_suffix(".log.1"))
    log.write_text("third\n")

    await until(lambda: checkout.said() == "first\nsecond\nthird\n")


def test_a_long_log_is_put_aside_when_its_process_starts(checkout: Checkout) -> None:
    checkout.data.mkdir()
    log = checkout.data / "router.log"
    log.write_bytes(b"x" * (LOG_LIMIT_BYTES + 1))

    with open_log(log) as new:
        new.write(b"again\n")

    assert log.read_bytes() == b"again\n"
    assert log.with_suffix(".log.1").stat().st_size == LOG_LIMIT_BYTES + 1
    with open_log(log) as same:
        same.write(b"and again\n")
    assert log.read_bytes() == b"again\nand again\n"
