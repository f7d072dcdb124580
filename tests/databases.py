"""A real Postgres for tests, from the wheel that `up` uses."""

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import LiteralString

import psutil
import psycopg
from psycopg.rows import DictRow, dict_row

from cli.supervisor import postgres
from tests.servers import free_port

FASTER = ("-c", "fsync=off", "-c", "full_page_writes=off")
START_S = 30


@dataclass
class Postgres:
    """A server process, which can be killed, stopped, frozen and started again."""

    folder: Path
    port: int = field(default_factory=free_port)
    url: str = ""
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Postgres":
        self.folder.mkdir(parents=True, exist_ok=True)
        command, self.url = postgres.set_up(self.folder, self.port)
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *FASTER], cwd=self.folder, stdout=log, stderr=log
            )
        deadline = monotonic() + START_S
        while monotonic() < deadline:
            try:
                psycopg.connect(self.url, connect_timeout=2).close()
            except psycopg.OperationalError:
                assert self.process.poll() is None, self.log()
                continue
            return self
        raise AssertionError(f"Postgres did not start within {START_S} s: {self.log()}")

    def log(self) -> str:
        return (self.folder.parent / f"{self.folder.name}.log").read_text()[-2000:]

    def kill(self) -> None:
        """kill -9 of the server; its children notice and end."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """At once, but in order: connections are cut, transactions rolled back."""
        self._end(signal.SIGINT)

    def freeze(self) -> None:
        """It and its children take connections and answer nothing."""
        for process in self._all():
            process.suspend()

    def thaw(self) -> None:
        for process in self._all():
            with suppress(psutil.NoSuchProcess):  # ended as soon as it could
                process.resume()

    def remove(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.thaw()
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def empty(self) -> None:
        """As if nobody had ever connected."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")

    def rows(self, statement: LiteralString) -> list[DictRow]:
        with psycopg.connect(self.url, row_factory=dict_row) as connection:
            return connection.execute(statement).fetchall()

    def _end(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)
        self.process.wait()

    def _all(self) -> list[psutil.Process]:
        assert self.process is not None
        server = psutil.Process(self.process.pid)
        return [server, *server.children()]
