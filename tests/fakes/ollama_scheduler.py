"""How Ollama's scheduler behaves: what is loaded, and when that changes."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from time import monotonic_ns
from typing import Any

from aiohttp import web

from tests.fakes.serving import Faults

FAULTS = frozenset(
    {"hang", "stall", "crash", "http500", "busy", "slow", "oom", "error_line"}
    | {"stuck_unload", "unshown"}
)
DEFAULT_NUM_CTX = 4096


@dataclass(frozen=True)
class Weights:
    """A model on the fake's disk."""

    name: str
    size: int = 64 << 20
    capabilities: tuple[str, ...] = ("completion", "tools")
    trained_context: int = 8192
    remote_host: str = ""

    @property
    def digest(self) -> str:
        return sha256(self.name.encode()).hexdigest()


@dataclass
class Runner:
    """A loaded model."""

    num_ctx: int
    slots: asyncio.Semaphore
    in_flight: int = 0
    expiring: bool = False


MODELS = (
    Weights("small:latest"),
    Weights("embedder:latest", capabilities=("embedding",), trained_context=512),
    Weights("far:cloud", remote_host="https://far.example"),
)


@dataclass
class Scheduler:
    """One load at a time. `counts` tells what it did."""

    weights: tuple[Weights, ...] = MODELS
    load_s: float = 0.0
    unload_s: float = 0.02
    parallel: int = 2
    faults: Faults = field(default_factory=lambda: Faults(FAULTS))
    runners: dict[str, Runner] = field(default_factory=dict)
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("loads", "reloads", "aborted_loads", "abandoned"), 0)
    )
    loading: asyncio.Lock = field(default_factory=asyncio.Lock)
    _unloads: set[asyncio.Task[None]] = field(default_factory=set)

    def named(self, name: str) -> Weights:
        for weights in self.weights:
            if weights.name in (name, f"{name}:latest"):
                return weights
        raise problem(404, f"model '{name}' not found")

    @asynccontextmanager
    async def running(self, body: dict[str, Any], name: str) -> AsyncIterator[tuple[Runner, int]]:
        began_ns = monotonic_ns()
        asked = (body.get("options") or {}).get("num_ctx", DEFAULT_NUM_CTX)
        num_ctx = min(asked, self.named(name).trained_context)
        runner = self.runners.get(name)
        if runner is None or runner.num_ctx != num_ctx:
            runner = await self._load(name, num_ctx)
        load_ns = monotonic_ns() - began_ns
        runner.in_flight += 1
        try:
            yield runner, load_ns
        except (asyncio.CancelledError, ConnectionError):
            self.counts["abandoned"] += 1
            raise
        finally:
            runner.in_flight -= 1
            if runner.expiring:
                self.expire(name)

    async def _load(self, name: str, num_ctx: int) -> Runner:
        async with self.loading:
            known = self.runners.get(name)
            if known is not None and known.num_ctx == num_ctx:
                return known
            self.counts["reloads" if known else "loads"] += 1
            if self.faults.strike("oom", name):
                raise problem(500, "llama-server has terminated: cudaMalloc failed: out of memory")
            try:
                await asyncio.sleep(self.load_s)
            except asyncio.CancelledError:
                self.counts["aborted_loads"] += 1
                raise
            self.runners[name] = Runner(num_ctx, asyncio.Semaphore(self.parallel))
            return self.runners[name]

    def expire(self, name: str) -> None:
        """Unload, later, once nothing runs."""
        runner = self.runners.get(name)
        if runner is None or self.faults.strike("stuck_unload", name):
            return
        runner.expiring = True
        if runner.in_flight == 0:
            unload = asyncio.create_task(self._unload(name, runner))
            self._unloads.add(unload)
            unload.add_done_callback(self._unloads.discard)

    async def _unload(self, name: str, runner: Runner) -> None:
        await asyncio.sleep(self.unload_s)
        if self.runners.get(name) is runner:
            del self.runners[name]


def problem(status: int, message: str) -> web.HTTPException:
    kinds = {
        400: web.HTTPBadRequest,
        404: web.HTTPNotFound,
        500: web.HTTPInternalServerError,
        503: web.HTTPServiceUnavailable,
    }
    return kinds[status](text=json.dumps({"error": message}), content_type="application/json")
