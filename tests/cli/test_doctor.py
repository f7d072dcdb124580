"""What `roundhouse doctor` finds, and what it advises."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.checkout import Checkout
from tests.servers import Store, free_port


def findings(checkout: Checkout, *arguments: str) -> dict[str, list[dict[str, Any]]]:
    """By subject."""
    result = checkout.run("doctor", "--json", "--port", str(checkout.port), *arguments)
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in json.loads(result.stdout):
        found.setdefault(finding["subject"], []).append(finding)
    levels = {finding["level"] for each in found.values() for finding in each}
    assert (result.returncode == 1) == ("fail" in levels)
    return found


@pytest.fixture
def careless_store(tmp_path: Path) -> Iterator[Store]:
    store = Store(
        tmp_path / "careless",
        options=("--appendonly", "no", "--maxmemory-policy", "allkeys-lru"),
    ).start()
    yield store
    store.stop()


def test_doctor_looks_at_everything_that_up_needs(checkout: Checkout) -> None:
    found = findings(checkout)

    assert list(found) == [
        *("python", "packages", "disk", "memory", "gpu"),
        *("port", "store", "postgres", "engines", "config"),
    ]
    assert found["python"][0]["level"] == "ok"
    assert "embedded Valkey" in found["store"][0]["what"]
    assert "embedded Postgres" in found["postgres"][0]["what"]


def test_a_taken_port_fails_with_another_to_try(checkout: Checkout) -> None:
    with socket.create_server(("127.0.0.1", checkout.port)):
        finding = findings(checkout)["port"][0]

    assert finding["level"] == "fail"
    assert f"Port {checkout.port} on 127.0.0.1 is in use" in finding["what"]
    assert "--port" in finding["remedy"]


def test_the_port_of_the_running_roundhouse_is_fine(running: Checkout) -> None:
    found = findings(running)

    assert found["port"][0]["level"] == "ok"
    assert "running Roundhouse" in found["port"][0]["what"]
    assert [finding["level"] for finding in found["store"]] == ["ok"]


def test_a_store_that_may_lose_work_is_warned_of_and_one_that_evicts_fails(
    checkout: Checkout, careless_store: Store
) -> None:
    checkout.environment = {"REDIS_URL": careless_store.url}

    reachable, log, eviction = findings(checkout)["store"]

    assert reachable["level"] == "ok"
    assert (log["level"], log["remedy"].split(",")[0]) == (
        "warn",
        "redis-cli CONFIG SET appendonly yes",
    )
    assert (eviction["level"], "allkeys-lru" in eviction["what"]) == ("fail", True)


def test_a_store_that_does_not_answer_fails_without_showing_its_password(
    checkout: Checkout,
) -> None:
    checkout.environment = {"REDIS_URL": f"redis://:secret@127.0.0.1:{free_port()}/0"}

    finding = findings(checkout)["store"][0]

    assert finding["level"] == "fail"
    assert "secret" not in str(finding)


def test_a_database_that_does_not_answer_is_warned_of_unless_nobody_needs_it(
    checkout: Checkout, tmp_path: Path
) -> None:
    checkout.environment = {"DATABASE_URL": f"postgresql://a:secret@127.0.0.1:{free_port()}/b"}
    config = tmp_path / "roundhouse.yaml"
    config.write_text('audit: {mode: "off"}\n')

    needed = findings(checkout)["postgres"][0]
    unneeded = findings(checkout, "--config", str(config))["postgres"][0]

    assert (needed["level"], unneeded["level"]) == ("warn", "ok")
    assert "does not answer" in needed["what"]
    assert "secret" not in str(needed)


def test_a_configuration_that_cannot_be_read_fails_at_its_line(
    checkout: Checkout, tmp_path: Path
) -> None:
    config = tmp_path / "roundhouse.yaml"
    config.write_text("version: 1\ntasks:\n  chat: {chian: [any]}\n")

    finding = findings(checkout, "--config", str(config))["config"][0]

    assert finding["level"] == "fail"
    assert f"{config}:3:" in finding["what"]


def test_an_engine_of_the_configuration_that_is_down_is_warned_of(
    checkout: Checkout, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    config = tmp_path / "roundhouse.yaml"
    config.write_text(f'nodes: {{local: {{engines: [{{kind: ollama, url: "{url}"}}]}}}}\n')

    engines = findings(checkout, "--config", str(config))["engines"]

    assert engines[1]["level"] == "warn"
    assert f"{url} does not answer" in engines[1]["what"]


def test_the_readable_form_says_what_to_do_below_what_is_wrong(checkout: Checkout) -> None:
    with socket.create_server(("127.0.0.1", checkout.port)):
        result = checkout.run("doctor", "--port", str(checkout.port))

    assert result.returncode == 1
    lines = result.stdout.splitlines()
    bad = next(index for index, line in enumerate(lines) if line.startswith("fail port"))
    assert lines[bad + 1].startswith("               Stop that program")
