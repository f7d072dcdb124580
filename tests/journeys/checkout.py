"""The real command with real services, on a data folder of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from cli.supervisor.folder import DataFolder, ProcessState, RunState

ROOT = Path(__file__).parents[2]


class Checkout:
    """`./roundhouse` on a data folder of its own."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self._environment = {
            **{key: value for key, value in os.environ.items() if key != "REDIS_URL"},
            "ROUNDHOUSE_HOME": str(data),
            "PYTHONPATH": str(ROOT),
        }

    def run(self, *arguments: str, timeout_s: float = 90) -> str:
        return subprocess.run(
            [sys.executable, "-P", "-m", "cli", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=timeout_s,
        ).stdout

    def begin(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "cli", *arguments],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def state(self) -> RunState:
        state = DataFolder(self.data).state()
        assert state is not None
        return state

    def processes(self) -> dict[str, ProcessState]:
        return {process.name: process for process in self.state().processes}

    def kill(self, name: str) -> Callable[[], bool]:
        """kill -9; tells from then on whether another one is ready in its place."""
        before = self.processes()[name].pid
        assert before is not None
        os.kill(before, signal.SIGKILL)

        def is_back() -> bool:
            process = self.processes()[name]
            return process.state == "ready" and process.pid != before

        return is_back
