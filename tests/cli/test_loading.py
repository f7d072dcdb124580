"""A store with large files takes its time: it is waited for, and nothing starts before it."""

import re
import subprocess
from pathlib import Path

import redis

from cli.supervisor.probes import store_lacks
from tests.fakes.checkout import Checkout
from tests.servers import Store
from tests.waiting import until

MIB = 1024 * 1024


def fill(url: str, mib: int) -> None:
    with redis.Redis.from_url(url) as client, client.pipeline(transaction=False) as pipe:
        for each in range(mib * 64):
            pipe.set(f"filler:{each}", "x" * 16 * 1024)
            if each % 64 == 63:
                pipe.execute()


async def test_a_store_that_loads_says_how_far_it_is(tmp_path: Path) -> None:
    store = Store(tmp_path / "store").start()
    try:
        with redis.Redis.from_url(store.url) as client, client.pipeline() as pipe:
            for each in range(20_000):
                pipe.set(f"key:{each}", each)
            pipe.execute()
        store.kill()
        assert store.process is not None
        command = [*map(str, store.process.args), "--key-load-delay", "200"]  # type: ignore[union-attr]
        store.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: ASYNC220

        said = set()

        async def loads() -> bool:
            said.add(lack := await store_lacks(store.url))
            return lack is None

        await until(loads, 60)
    finally:
        store.stop()

    shares = [match[1] for lack in said if lack and (match := re.search(r"\((\d+) %\)", lack))]
    assert len(shares) > 1, said


def test_up_over_large_files_starts_the_services_after_them(checkout: Checkout) -> None:
    assert checkout.up("--detach").returncode == 0
    fill(checkout.state().redis_url, 24)
    checkout.run("down")
    files = list((checkout.data / "valkey" / "appendonlydir").iterdir())
    assert sum(file.stat().st_size for file in files) > 10 * MIB

    result = checkout.up("--detach")

    assert result.returncode == 0, result.stdout
    ready = re.findall(r"^  (\S+) +ready", result.stdout, re.MULTILINE)
    assert ready == ["valkey", "router", "gateway"]
    with redis.Redis.from_url(checkout.state().redis_url) as client:
        assert client.exists("filler:0", "filler:1535") == 2
