"""What the fake engines share: faults on demand, a server, a ready line, a process to kill."""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class Faults:
    """What shall go wrong, for all models or for one, always or a number of times."""

    known: frozenset[str]
    _active: list[dict[str, Any]] = field(default_factory=list)

    def set(self, kind: str, model: str | None = None, times: int | None = None) -> None:
        if kind not in self.known:
            raise ValueError(
                f"no fault is called {kind}; there are {', '.join(sorted(self.known))}"
            )
        self._active.append({"kind": kind, "model": model, "times": times})

    def clear(self) -> None:
        self._active.clear()

    def strike(self, kind: str, model: str) -> bool:
        """Whether this goes wrong now; counts as one of its times."""
        for fault in self._active:
            if fault["kind"] == kind and fault["model"] in (None, model):
                if fault["times"] is not None:
                    fault["times"] -= 1
                    if fault["times"] == 0:
                        self._active.remove(fault)
                return True
        return False

    async def on_request(self, request: web.Request) -> web.Response:
        """POST /_fault: `{"kind": ..., "model": ..., "times": ...}`; `{}` heals everything."""
        wanted = await request.json()
        if not wanted:
            self.clear()
            return web.json_response({})
        try:
            self.set(wanted["kind"], wanted.get("model"), wanted.get("times"))
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response(wanted)


async def for_ever() -> None:
    await asyncio.Event().wait()


def cut(request: web.Request) -> None:
    """Break the connection off, as a process does that is killed."""
    if request.transport is not None:
        request.transport.abort()


@asynccontextmanager
async def serving(app: web.Application, port: int = 0) -> AsyncIterator[str]:
    """Serve on the loopback and yield the address. A client that goes away cancels its handler."""
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def run(app: web.Application, port: int) -> None:
    """Serve until SIGTERM or SIGINT, after one line of JSON that says where."""

    async def serve() -> None:
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        async with serving(app, port) as url:
            ready = {"ready": True, "url": url, "pid": os.getpid()}
            sys.stdout.write(json.dumps(ready) + "\n")
            sys.stdout.flush()
            await stopped.wait()

    asyncio.run(serve())


def arguments(description: str, faults: Faults, extend: Callable[[Any], None]) -> Any:
    """Parse a fake's command line, and set the faults that it names."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--fault", action="append", default=[], choices=sorted(faults.known))
    extend(parser)
    options = parser.parse_args()
    for kind in options.fault:
        faults.set(kind)
    return options


@dataclass
class Process:
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    url: str

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def spawned(*command: str) -> Iterator[Process]:
    """Start `python -m command...`, which prints a ready line; kill it at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    ready = process.stdout.readline()
    assert ready, f"{' '.join(command)} ended with status {process.wait()}"
    server = Process(process, json.loads(ready)["url"])
    try:
        yield server
    finally:
        server.kill()
