"""A service that only some configurations need runs once one of them is in force."""

from pathlib import Path

import pytest

from tests.fakes.checkout import Checkout
from tests.waiting import until

WITH_ENDPOINT = "endpoints: {n8n: {url: 'https://example.org/hook', secret_env: N8N_SECRET}}\n"
WITHOUT = "endpoints: {}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "given.yaml"


def write(file: Path, text: str) -> None:
    file.write_text(text)


def names(checkout: Checkout) -> list[str]:
    return [process["name"] for process in checkout.status()["processes"]]


async def test_without_endpoints_no_notifier_runs_until_there_are_some(
    checkout: Checkout, file: Path
) -> None:
    write(file, WITHOUT)
    result = checkout.up("--detach", "--config", str(file))
    assert "notifier           starts once the configuration has endpoints" in result.stdout
    assert names(checkout) == ["supervisor", "valkey", "router", "gateway"]
    assert checkout.status()["ready"]

    write(file, WITH_ENDPOINT)
    applied = checkout.run("apply", str(file))

    assert applied.returncode == 0, applied.stderr
    await until(lambda: "notifier" in names(checkout), 20)
    await until(lambda: checkout.status()["ready"], 20)


async def test_a_notifier_stays_when_the_last_endpoint_goes(checkout: Checkout, file: Path) -> None:
    write(file, WITH_ENDPOINT)
    result = checkout.up("--detach", "--config", str(file))
    assert "notifier           ready" in result.stdout
    before = checkout.pid("notifier")

    write(file, WITHOUT)
    checkout.run("apply", str(file))

    assert checkout.run("down").returncode == 0
    assert before
    assert checkout.processes() == []
