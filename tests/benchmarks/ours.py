"""Roundhouse, started by its own `up` as a user does: all stores and services, the engine above."""

import asyncio
import json
import re
import sys
import tomllib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from subprocess import DEVNULL, PIPE

import redis.asyncio

from cli.address import ROOT
from cli.supervisor.folder import DataFolder, RunState
from tests.benchmarks.crowd import fill
from tests.benchmarks.engine import HELD, INSTANT, PACED
from tests.benchmarks.orders import Way
from tests.benchmarks.systems import Site, System, running, until_it_answers, until_ready

SLOTS = 64
READY_S = 60.0
A_DAY_S = 86_400
STORE_MIB = 4096
"""More than by default: answers are kept for an hour, and a run is a day's work."""

LEFT_OUT = {"REDIS_URL": "", "DATABASE_URL": "", "ROUNDHOUSE_HOME": "", "ROUNDHOUSE_URL": ""}


@asynccontextmanager
async def processes(site: Site) -> AsyncIterator[System]:
    """A process for each service."""
    async with _up(site, "ours") as system:
        yield system


@asynccontextmanager
async def compact(site: Site) -> AsyncIterator[System]:
    """All services in one process."""
    async with _up(site, "ours, compact", "--compact") as system:
        yield system


@asynccontextmanager
async def crowded(site: Site, waiting: int) -> AsyncIterator[System]:
    """A process for each service, and so many requests that wait for a model that never answers."""
    async with _up(site, f"ours, {waiting:,} waiting") as system:
        await fill(system.addresses[Way.STREAM], waiting)
        yield replace(system, addresses={Way.HTTP: system.addresses[Way.HTTP]})


@asynccontextmanager
async def _up(site: Site, name: str, *options: str) -> AsyncIterator[System]:
    """Also with the settings of a shell in which another one runs."""
    home = site.folder / re.sub(r"[, ]+", "-", name)
    home.mkdir()
    config, log = home / "roundhouse.yaml", home / "up.log"
    config.write_text(json.dumps(_configuration(site.engine_url)))  # JSON is YAML
    command = (sys.executable, "-P", "-m", "cli", "up", "--port", "0", *options)
    places = ("--data", str(home / "data"), "--config", str(config))
    environment = LEFT_OUT | {"PYTHONPATH": str(ROOT)}
    async with running((*command, *places), log, environment) as pid:
        state = await _state(home / "data", log)
        await _give_memory(state.redis_url)
        url = f"http://{state.http_host}:{state.http_port}"
        await until_it_answers(url, log)
        yield System(
            name=name,
            addresses={Way.HTTP: url, Way.STREAM: state.redis_url},
            pids={"supervisor": pid, **_pids(state)},
            version=await _version(),
        )


def _pids(state: RunState) -> Mapping[str, int]:
    return {process.name: process.pid for process in state.processes if process.pid}


async def _version() -> str:
    """The version and the commit; "+" where the checkout differs from it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    git = ("git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*")
    process = await asyncio.create_subprocess_exec(*git, stdout=PIPE, stderr=DEVNULL)
    commit, _ = await process.communicate()
    return f"{project['version']} ({commit.decode().strip()})" if commit else project["version"]


async def _state(data: Path, log: Path) -> RunState:
    folder = DataFolder(data)

    async def ready() -> RunState | None:
        state = folder.state()
        up = state and state.processes and all(one.state == "ready" for one in state.processes)
        return state if up else None

    state = await until_ready(ready, READY_S, log)
    assert state
    return state


async def _give_memory(redis_url: str) -> None:
    async with redis.asyncio.Redis.from_url(redis_url) as store:
        await store.config_set("maxmemory", f"{STORE_MIB}mb")


def _configuration(engine_url: str) -> dict[str, object]:
    engine = {"kind": "openai", "url": engine_url}
    slots = {INSTANT: SLOTS, PACED: SLOTS, HELD: 1}
    return {
        "nodes": {"local": {"discover": False, "engines": [engine]}},
        "models": {name: {"engine": "openai", "slots": each} for name, each in slots.items()},
        "attempts": {"first_token_s": A_DAY_S, "total_s": A_DAY_S},
    }
