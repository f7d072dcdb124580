"""A service: its bus, its background work, its probes; and how a process runs one or several."""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import uvicorn
import uvloop
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic_core import to_json

from shared.bus.bus import Bus
from shared.log import get_logger
from shared.settings import ServiceSettings
from shared.telemetry import configure_logging

log = get_logger()

Scope = dict[str, Any]
Asgi = Callable[[Scope, Any, Any], Any]

Step = Callable[[], Coroutine[Any, Any, None]]

STOP_S = 4.0


class StartError(Exception):
    """A service cannot do its work here; the message says why and what to do."""


@dataclass
class Service:
    """What a service's `create_app` returns."""

    name: str
    settings: ServiceSettings
    bus: Bus
    app: Asgi | None = None
    """Serves what is not a probe."""
    http: Any = "auto"
    """uvicorn's protocol class for this process."""
    role: Callable[[], str] = field(default=lambda: "active")
    """`active`, or `standby` while another process leads."""
    checks: Callable[[], dict[str, str]] = field(default=dict)
    """The service's own reasons not to be ready, beside the bus's."""
    on_start: Sequence[Step] = ()
    """Run once the bus is connected; a `StartError` ends the process with its message."""
    on_stop: Sequence[Step] = ()
    core: bool = True
    """Whether inference needs it: beside others in one process, only then is that not ready
    while this is not."""
    given_up: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by a service that has no place here any more; the process then stops."""

    async def start(self) -> None:
        await self.bus.start()
        for step in self.on_start:
            await step()
        log.info("started", service=self.name)

    async def give_back(self) -> None:
        """The first half of a stop, while the bus and HTTP still work."""
        for step in self.on_stop:
            await step()

    async def close(self) -> None:
        """The second half."""
        await self.bus.stop()
        log.info("stopped", service=self.name)

    async def stop(self) -> None:
        await self.give_back()
        await self.close()

    def readiness(self) -> dict[str, Any]:
        checks = {**self.bus.checks(), **self.checks()}
        failing = {name: why for name, why in checks.items() if why}
        return {
            "ready": not failing,
            "role": self.role(),
            "checks": {name: why or "ok" for name, why in checks.items()},
        }


def probes(services: Sequence[Service]) -> Asgi:
    """/healthz, /ready and /metrics of the services in this process, before their own pages."""
    pages = next((service.app for service in services if service.app), None)

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        match scope["path"]:
            case "/healthz":
                await _answer(send, 200, b'{"alive":true}')
            case "/ready":
                ready = _readiness(services)
                await _answer(send, 200 if ready["ready"] else 503, to_json(ready))
            case "/metrics":
                await _answer(send, 200, generate_latest(), CONTENT_TYPE_LATEST)
            case _ if pages is not None:
                await pages(scope, receive, send)
            case _:
                await _answer(send, 404, b'{"error":{"message":"not found"}}')

    return app


def run(*services: Service) -> None:
    """Serve until SIGTERM or SIGINT; then stop within five seconds."""
    settings = services[-1].settings
    configure_logging("+".join(service.name for service in services), settings.log_level)
    try:
        uvloop.run(_serve(services, settings))
    except StartError as error:
        log.error("not_started", reason=str(error))  # noqa: TRY400 - a message, not a bug
        sys.exit(1)


async def _serve(services: Sequence[Service], settings: ServiceSettings) -> None:
    server = uvicorn.Server(
        uvicorn.Config(
            probes(services),
            host=settings.host,
            port=settings.port,
            http=next((one.http for one in services if one.app), "auto"),
            log_level="warning",
            access_log=False,
            server_header=False,
            date_header=False,
            lifespan="off",
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=1,
            h11_max_incomplete_event_size=64 * 1024,
        )
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    server.capture_signals = nullcontext  # type: ignore[method-assign,assignment]
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    listening = asyncio.create_task(server.serve())
    starting = asyncio.create_task(_start_all(services))
    stopped = asyncio.create_task(_first(stop, *(service.given_up for service in services)))
    await asyncio.wait({listening, stopped, starting}, return_when=asyncio.FIRST_COMPLETED)
    if starting.done() and not starting.exception():
        await asyncio.wait({listening, stopped}, return_when=asyncio.FIRST_COMPLETED)
    starting.cancel()
    server.should_exit = True
    await _bounded(*(service.give_back() for service in services), _finished(listening))
    await _bounded(*(service.close() for service in services))
    if not stopped.done():
        starting.result()


async def _first(*events: asyncio.Event) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)


async def _start_all(services: Sequence[Service]) -> None:
    await asyncio.gather(*(service.start() for service in services))


async def _finished(listening: "asyncio.Task[None]") -> None:
    """Callers hear how their requests ended for as long as HTTP drains."""
    await asyncio.wait({listening})


async def _bounded(*steps: Coroutine[Any, Any, None]) -> None:
    _, late = await asyncio.wait([asyncio.create_task(step) for step in steps], timeout=STOP_S / 2)
    for task in late:
        log.warning("stop_cut_short", task=str(task.get_coro()))
        task.cancel()


def _readiness(services: Sequence[Service]) -> dict[str, Any]:
    if len(services) == 1:
        return services[0].readiness()
    each = {service.name: service.readiness() for service in services}
    ready = all(each[service.name]["ready"] for service in services if service.core)
    return {"ready": ready, "role": "active", "services": each}


async def _answer(
    send: Any, status: int, body: bytes, content_type: str = "application/json"
) -> None:
    headers = [
        (b"content-type", content_type.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"server", b"roundhouse"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
