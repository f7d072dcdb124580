"""The command as a person runs it, against a store of the test's.

Most runs are forked from a process that has imported everything already: `python -m cli` takes a
second to start, a fork 20 ms. Signals, exit codes and files are as real in both.
"""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from cli.app import COMMANDS, main
from tests.fakes import processes

ROOT = Path(__file__).parents[2]
LEFT_OUT = {"REDIS_URL", "ROUNDHOUSE_HOME", "ROUNDHOUSE_URL", "ROUNDHOUSE_PREFIX"}

_fork_server = multiprocessing.get_context("forkserver")
_fork_server.set_forkserver_preload(
    [
        processes.__name__,
        __name__,
        "typer.rich_utils",
        *(place.partition(":")[0] for place in COMMANDS.values()),
    ]
)


@dataclass(frozen=True)
class Finished:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


@dataclass
class Started:
    """A run that goes on. `out` and `err` grow meanwhile."""

    process: BaseProcess
    folder: Path

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text(errors="replace")

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text(errors="replace")

    def interrupt(self) -> None:
        """As Ctrl-C does."""
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGINT)

    def finish(self, timeout_s: float = 30.0) -> Finished:
        self.process.join(timeout_s)
        code = self.process.exitcode
        if code is None:
            self.process.kill()
            self.process.join()
            raise AssertionError(f"still running after {timeout_s} s: {self.out}{self.err}")
        self.process.close()
        return Finished(code, self.out, self.err)


@dataclass
class Command:
    """`url` of the store; None where the environment names none."""

    folder: Path
    url: str | None
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, given: bytes = b"") -> Finished:
        """One run to its end; `given` is its input."""
        return self.start(*arguments, given=given).finish()

    def start(self, *arguments: str, given: bytes = b"") -> Started:
        folder = Path(mkdtemp(dir=self.folder, prefix="run-"))
        (folder / "in").write_bytes(given)
        (folder / "out").touch()
        (folder / "err").touch()
        process = _fork_server.Process(
            target=_forked, args=(arguments, self._environment(), folder), daemon=True
        )
        process.start()
        return Started(process, folder)

    def spawn(self, *arguments: str, shell: str = 'exec "$@"') -> "subprocess.Popen[str]":
        """`python -m cli`, with pipes, as `shell` starts it."""
        return subprocess.Popen(
            ["/bin/sh", "-c", shell, "sh", sys.executable, "-P", "-m", "cli", *arguments],
            env=self._environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )

    def _environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if key not in LEFT_OUT}
        home = {"ROUNDHOUSE_HOME": str(self.folder / "home"), "PYTHONPATH": str(ROOT)}
        url = {"REDIS_URL": self.url} if self.url else {}
        return {**kept, **home, **url, **self.environment}


def _forked(arguments: tuple[str, ...], environment: dict[str, str], folder: Path) -> None:
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    flags = {"in": os.O_RDONLY, "out": os.O_WRONLY, "err": os.O_WRONLY}
    for descriptor, (name, mode) in enumerate(flags.items()):
        os.dup2(os.open(folder / name, mode), descriptor)
    sys.stdin, sys.stdout = open(0), open(1, "w")  # noqa: SIM115
    sys.stderr = open(2, "w", errors="backslashreplace")  # noqa: SIM115
    main(arguments)
