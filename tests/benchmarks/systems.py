"""What is measured: the engine itself, and what can stand in front of it."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT
from typing import TypeVar

import httpx

from tests.benchmarks.orders import Shape, Way, body
from tests.waiting import until

T = TypeVar("T")

START_S = 120.0
STOP_S = 10.0


class NotHereError(Exception):
    """A system cannot be measured on this machine; the message says why."""


@dataclass(frozen=True)
class System:
    """Something that runs and answers. `pids` are the roots of its processes, by name."""

    name: str
    addresses: Mapping[Way, str]
    pids: Mapping[str, int] = field(default_factory=dict)
    version: str = ""
    authorization: str = ""
    warm_s: float = 1.0
    """How long it has to be used before its figures hold."""


@dataclass(frozen=True)
class Site:
    """Where things are put, and the engine that all systems stand in front of."""

    folder: Path
    """Of this run."""
    cache: Path
    """Kept between runs."""
    engine_url: str


@asynccontextmanager
async def running(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> AsyncIterator[int]:
    """Run a server that logs to a file, in a group of its own; end the whole group."""
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=DEVNULL,
            stdout=file,
            stderr=STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    try:
        yield process.pid
    finally:
        if process.returncode is None:
            process.terminate()
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), STOP_S)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


async def until_it_answers(url: str, log: Path, authorization: str = "") -> None:
    """Wait until a plain request gets its answer. Raise `NotHereError` after two minutes."""
    headers = {"Authorization": authorization} if authorization else {}

    async def answered() -> bool:
        with suppress(httpx.TransportError):
            answer = await client.post("/v1/chat/completions", json=body(Shape.PLAIN))
            return answer.status_code == 200
        return False

    async with httpx.AsyncClient(
        base_url=url, headers=headers, timeout=30, trust_env=False
    ) as client:
        await until_ready(answered, START_S, log)


async def until_ready(condition: Callable[[], Awaitable[T]], timeout_s: float, log: Path) -> T:
    """The condition's first true answer. Raise `NotHereError`, with the end of the log."""
    try:
        return await until(condition, timeout_s=timeout_s, every_s=0.2)
    except AssertionError:
        why = f"it was not ready within {timeout_s:g} s; its last words:\n{_last_words(log)}"
        raise NotHereError(why) from None


def _last_words(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-12:])


@asynccontextmanager
async def engine(chunks: int, chunk_s: float) -> AsyncIterator[tuple[str, int]]:
    """The mock engine; its URL and process id."""
    command = (sys.executable, "-m", "tests.benchmarks.engine")
    options = ("--chunks", str(chunks), "--chunk-s", str(chunk_s))
    process = await asyncio.create_subprocess_exec(*command, *options, stdin=DEVNULL, stdout=PIPE)
    try:
        assert process.stdout
        yield json.loads(await process.stdout.readline())["url"], process.pid
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@asynccontextmanager
async def direct(site: Site) -> AsyncIterator[System]:
    """Nothing in front of the engine: what its own answers take."""
    yield System("direct", {Way.HTTP: site.engine_url}, warm_s=0.2)
