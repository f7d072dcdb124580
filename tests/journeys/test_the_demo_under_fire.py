"""The real command with real services and a real engine: each is killed while the demo runs."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis.asyncio

from tests.journeys import checker
from tests.journeys.checkout import Checkout
from tests.servers import free_port
from tests.waiting import until

TIMES = 12
KILLED = (
    *("router", "model-manager", "inference-worker", "vram-monitor", "audit-logger", "gateway"),
    *("postgres", "valkey"),
)


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
        await until(checkout.kill(name), timeout_s=30)

    answers = []
    for demo in demos:
        said, complaints = demo.communicate(timeout=120)
        assert said, complaints
        answers += json.loads(said)
    asked = [answer["request_id"] for answer in answers]
    assert len(asked) == 9 * TIMES * len(demos)
    completed = [answer for answer in answers if answer["outcome"] == "completed"]
    assert len(completed) > 0.9 * len(asked)
    client = redis.asyncio.Redis.from_url(checkout.state().redis_url, protocol=2)
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
