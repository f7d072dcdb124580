"""The store's disk fills up under load, and has room again later: nothing accepted is lost."""

from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from redis.exceptions import ResponseError

from tests.fakes.asking import final, said
from tests.fakes.disk import Disk
from tests.journeys import checker
from tests.journeys.conftest import Stage
from tests.servers import Store
from tests.waiting import until

CHAT = {"model": "echo", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    disk = Disk(tmp_path)
    if not disk.environment:
        pytest.skip("there is no C compiler")
    return disk


@pytest.fixture
def own_store(tmp_path: Path, disk: Disk) -> Iterator[Store]:
    store = Store(tmp_path / "store", environment=disk.environment).start()
    yield store
    store.stop()


async def test_what_runs_ends_once_there_is_room_and_new_work_is_refused_until_then(
    stage: Stage, disk: Disk
) -> None:
    await stage.router()
    await stage.worker("n1")
    url = await stage.gateway()
    streams = [
        await stage.asker.ask("one two three", model="slow", deadlinems=600_000) for _ in range(4)
    ]
    await stage.running(4)

    disk.fill()
    await until(lambda: refuses(stage), timeout_s=15)
    status, answer, retry_after = await chat(url)
    assert status == 429, answer
    assert "disk" in answer["error"]["message"]
    assert int(retry_after) >= 1
    assert not any(stream.ended for stream in streams)

    disk.clear()
    assert [said(await final(stream, 60)) for stream in streams] == ["one two three"] * 4

    async def served() -> bool:
        return (await chat(url))[0] == 200

    await until(served, timeout_s=15)
    finals = await checker.finals(stage.client)
    assert {request: finals[request] for request in stage.asker.asked} == dict.fromkeys(
        stage.asker.asked, 1
    )


async def refuses(stage: Stage) -> bool:
    try:
        await stage.client.set("probe", "x")
    except ResponseError as error:
        return str(error).startswith("MISCONF")
    return False


async def chat(url: str) -> tuple[int, dict[str, dict[str, str]], str]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/v1/chat/completions", json=CHAT) as response,
    ):
        return response.status, await response.json(), response.headers.get("Retry-After", "0")
