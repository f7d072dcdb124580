"""The real command with real services and a real engine: each is killed while the demo runs."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis.asyncio

from cli.supervisor.folder import DataFolder
from tests.journeys import checker
from tests.servers import free_port
from tests.waiting import until

ROOT = Path(__file__).parents[2]
TIMES = 12
KILLED = (
    *("router", "model-manager", "inference-worker", "vram-monitor", "audit-logger", "gateway"),
    *("postgres", "valkey"),
)


class Checkout:
    """`./roundhouse` on a data folder of its own."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self._environment = {
            **{key: value for key, value in os.environ.items() if key != "REDIS_URL"},
            "ROUNDHOUSE_HOME": str(data),
            "PYTHONPATH": str(ROOT),
        }

    def run(self, *arguments: str, timeout_s: float = 90) -> str:
        return subprocess.run(
            [sys.executable, "-P", "-m", "cli", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=timeout_s,
        ).stdout

    def begin(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "cli", *arguments],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def processes(self) -> dict[str, Any]:
        state = DataFolder(self.data).state()
        assert state is not None
        return {process.name: process for process in state.processes}


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    checkout = Checkout(tmp_path / "data")
    checkout.run("up", "--detach", "--port", str(free_port()))
    yield checkout
    checkout.run("down")


@pytest.mark.timeout(240)
async def test_whatever_is_killed_during_the_demo_every_request_ends_once(
    checkout: Checkout,
) -> None:
    """As many demos one after the other as it takes to kill everything during one of them."""
    demos = [checkout.begin("demo", "--times", str(TIMES), "--json")]

    for name in KILLED:
        if demos[-1].poll() is not None:
            demos.append(checkout.begin("demo", "--times", str(TIMES), "--json"))
            await asyncio.sleep(1)
        assert demos[-1].poll() is None
        before = checkout.processes()[name].pid
        os.kill(before, signal.SIGKILL)

        def is_back(name: str = name, before: int = before) -> bool:
            process = checkout.processes()[name]
            return process.state == "ready" and process.pid != before

        await until(is_back, timeout_s=30)

    answers = []
    for demo in demos:
        said, complaints = demo.communicate(timeout=120)
        assert said, complaints
        answers += json.loads(said)
    asked = [answer["request_id"] for answer in answers]
    assert len(asked) == 9 * TIMES * len(demos)
    completed = [answer for answer in answers if answer["outcome"] == "completed"]
    assert len(completed) > 0.9 * len(asked)
    state = DataFolder(checkout.data).state()
    assert state is not None
    client = redis.asyncio.Redis.from_url(state.redis_url, protocol=2)
    counted = await checker.finals(client)
    assert {each: counted[each] for each in asked if counted[each] != 1} == {}
    await client.aclose()


def test_nothing_is_left_behind_after_down(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "data")
    checkout.run("up", "--detach", "--port", str(free_port()))
    checkout.run("demo")
    family = [
        child
        for process in checkout.processes().values()
        for child in (
            psutil.Process(process.pid),
            *psutil.Process(process.pid).children(recursive=True),
        )
    ]

    checkout.run("down")

    _, left = psutil.wait_procs(family, timeout=5)
    assert left == []
