"""Services as processes of their own, which tests kill, freeze and thaw like any other.

They are forked from one that has imported everything: the first takes 2 s, every other 50 ms.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import httpx

from services.audit_logger.app import create_app as create_audit_logger
from services.audit_logger.settings import Settings as AuditLoggerSettings
from services.gateway.app import create_app as create_gateway
from services.gateway.settings import Settings as GatewaySettings
from services.inference_worker.app import create_app as create_worker
from services.inference_worker.backends.port import Backend
from services.inference_worker.settings import Settings as WorkerSettings
from services.model_manager.app import create_app as create_manager
from services.model_manager.settings import Settings as ManagerSettings
from services.router.app import create_app as create_router
from services.router.settings import Settings as RouterSettings
from shared.config import Config
from shared.service import Service, run
from tests.fakes.backend import ScriptedBackend
from tests.servers import free_port

CreateService = Callable[..., Service]

_fork_server = multiprocessing.get_context("forkserver")
_fork_server.set_forkserver_preload([__name__])


@dataclass
class Child:
    """A service in a process of its own."""

    process: BaseProcess
    port: int
    log: Path

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self.process.kill()
        self.process.join()

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def terminate(self, timeout_s: float = 10.0) -> int | None:
        """SIGTERM; its exit code, None where it has not ended in time."""
        self.process.terminate()
        self.process.join(timeout_s)
        return self.process.exitcode

    async def ready(self) -> dict[str, Any] | None:
        """What /ready says, with its `status`; None where nobody answers."""
        try:
            async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
                answer = await client.get(f"http://127.0.0.1:{self.port}/ready")
        except httpx.TransportError:
            return None
        return {**answer.json(), "status": answer.status_code}


@dataclass
class Processes:
    """All children of a test, and where they log."""

    folder: Path
    children: list[Child] = field(default_factory=list)

    def start(self, create: CreateService, redis_url: str, **settings: Any) -> Child:
        """Run the service that `create(settings)` returns; `create` must be importable."""
        settings = {"redis_url": redis_url, "data": self.folder, **settings}
        return self._start(_host, create, settings)

    def serve(self, program: Callable[..., None], **options: Any) -> Child:
        """Run what is no service; `program(port=..., **options)` must be importable."""
        return self._start(_call, program, options)

    def router(self, redis_url: str) -> Child:
        return self.start(router, redis_url)

    def worker(self, redis_url: str, node: str, *models: str, **settings: Any) -> Child:
        """A worker with a scripted engine, see `worker`."""
        return self.start(worker, redis_url, node=node, models=models, **settings)

    def end(self) -> None:
        for child in self.children:
            child.kill()
            child.process.close()

    def _start(
        self, host: Callable[..., None], what: Callable[..., Any], options: dict[str, Any]
    ) -> Child:
        options = {"port": free_port(), **options}
        log = self.folder / f"{len(self.children)}-{what.__name__}.log"
        process = _fork_server.Process(target=host, args=(what, options, log), daemon=True)
        process.start()
        child = Child(process, options["port"], log)
        self.children.append(child)
        return child


def router(**settings: Any) -> Service:
    return create_router(RouterSettings(**settings))


def gateway(**settings: Any) -> Service:
    return create_gateway(GatewaySettings(**settings))


def manager(**settings: Any) -> Service:
    return create_manager(ManagerSettings(**settings))


def audit_logger(**settings: Any) -> Service:
    return create_audit_logger(AuditLoggerSettings(**settings))


def real_worker(**settings: Any) -> Service:
    """A worker with the engines that its configuration names."""
    return create_worker(WorkerSettings(**settings))


def worker(
    *, models: tuple[str, ...], slots: int = 4, loaded: bool = True, **settings: Any
) -> Service:
    """A worker whose scripted engine offers these models, and has them in memory at once."""
    backend = ScriptedBackend(models, slots)
    if loaded:
        backend.loaded.update(models)
    return scripted_worker(backend, **settings)


def scripted_worker(backend: ScriptedBackend, **settings: Any) -> Service:

    async def assemble(config: Config, settings: WorkerSettings) -> list[Backend]:
        return [backend]

    return create_worker(WorkerSettings(**settings), assemble)


def _host(create: CreateService, settings: dict[str, Any], log: Path) -> None:
    _call(lambda **given: run(create(**given)), settings, log)


def _call(program: Callable[..., None], options: dict[str, Any], log: Path) -> None:
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)
    threading.Thread(target=_end_with_the_tests, daemon=True).start()
    program(**options)


def _end_with_the_tests() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
