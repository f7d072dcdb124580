"""The command as a person runs it, on a data folder of its own and with stand-in services."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from cli.supervisor.folder import DataFolder, RunState
from tests.servers import free_port

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-P", "-m", "tests.fakes.roundhouse"]
LEFT_OUT = {"REDIS_URL", "DATABASE_URL", "ROUNDHOUSE_HOME"}


@dataclass
class Checkout:
    """`environment` is added to that of the tests. The services are those of the stand-ins."""

    data: Path
    port: int = field(default_factory=free_port)
    environment: dict[str, str] = field(default_factory=dict)
    started: list["subprocess.Popen[str]"] = field(default_factory=list)

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """One command to its end."""
        return subprocess.run(
            [*COMMAND, *arguments, "--data", str(self.data)],
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def up(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """`up`, in a case where it returns by itself."""
        return self.run("up", "--port", str(self.port), *arguments)

    def start(
        self, *arguments: str, output: int | None = None, errors: int = subprocess.STDOUT
    ) -> "subprocess.Popen[str]":
        """`up` in the foreground."""
        up = ("up", "--port", str(self.port), *arguments)
        return self.follow(*up, output=output, errors=errors)

    def follow(
        self, *arguments: str, output: int | None = None, errors: int = subprocess.STDOUT
    ) -> "subprocess.Popen[str]":
        """One command that goes on. What it says is in `said`, unless `output` takes it."""
        with self.output.open("a") as file:
            process = subprocess.Popen(
                [*COMMAND, *arguments, "--data", str(self.data)],
                env=self._environment(),
                stdout=file if output is None else output,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    @property
    def output(self) -> Path:
        return self.data.with_suffix(".output")

    def said(self) -> str:
        return self.output.read_text() if self.output.exists() else ""

    def is_up(self) -> bool:
        return "Roundhouse is up" in self.said()

    def status(self) -> dict[str, Any]:
        return json.loads(self.run("status", "--json").stdout)

    def state(self) -> RunState:
        state = DataFolder(self.data).state()
        assert state is not None
        return state

    def pid(self, name: str) -> int:
        pid = next(process.pid for process in self.state().processes if process.name == name)
        assert pid is not None
        return pid

    def has_started(self, name: str) -> bool:
        state = DataFolder(self.data).state()
        return state is not None and any(
            process.name == name and process.pid for process in state.processes
        )

    def processes(self) -> list[psutil.Process]:
        """Everything that lives and was started from the data folder."""
        living = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                by = process.environ().get("ROUNDHOUSE_SUPERVISED_BY", "")
                if by.startswith(f"{self.data}:"):
                    living.append(process)
        return living

    def supervisor(self) -> psutil.Process:
        pid = DataFolder(self.data).holder()
        assert pid is not None
        return psutil.Process(pid)

    def guards(self) -> list[psutil.Process]:
        return [
            child for child in self.supervisor().children() if "guard.sh" in str(child.cmdline())
        ]

    def clean_up(self) -> None:
        """Show what was said, for a test that failed; end whatever still runs."""
        sys.stdout.write(self.said())
        for log in sorted((self.data / "logs").glob("*.log")):
            sys.stdout.write(f"--- {log.name}\n" + "".join(log.open().readlines()[-20:]))
        holder = DataFolder(self.data).holder()
        for pid in [holder] if holder else []:
            os.kill(pid, signal.SIGKILL)
        for process in self.started:
            process.kill()
            process.wait()
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def _environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if key not in LEFT_OUT}
        return {**kept, "PYTHONPATH": str(ROOT), **self.environment}
