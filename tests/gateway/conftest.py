"""The gateway before a fake exchange: called in the process, or served on a real socket."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from services.gateway.app import create_http
from services.gateway.limits import Limits
from services.gateway.protocol import BoundedHttpProtocol
from services.gateway.settings import Settings
from tests.fakes.exchange import FakeExchange
from tests.waiting import until

QUICK = Limits(body_bytes=1_000_000, body_s=0.5, linger_s=0.5, quiet_s=0.1, grace_s=0.3)


@dataclass
class Served:
    """A gateway on a port of this machine."""

    port: int
    exchange: FakeExchange

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def exchange() -> FakeExchange:
    return FakeExchange()


@pytest.fixture
def app(exchange: FakeExchange) -> FastAPI:
    return create_http(exchange, Settings(), QUICK)


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Calls the application without a network. It collects a whole answer before it gives it."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8080") as client:
        yield client


@pytest.fixture
async def served(app: FastAPI, exchange: FakeExchange) -> AsyncIterator[Served]:
    config = uvicorn.Config(
        app,
        port=0,
        log_level="error",
        lifespan="off",
        server_header=False,
        date_header=False,
        http=BoundedHttpProtocol,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())
    await until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Served(port, exchange)
    server.should_exit = True
    await serving


async def end(task: asyncio.Task[None]) -> None:
    """Cancel until it is heard: under Python 3.11 a redis-py command that has just been sent
    swallows a cancellation, because `asyncio.wait_for` does."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=0.1)
