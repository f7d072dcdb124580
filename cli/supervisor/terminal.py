"""What `up` tells the person in front of it."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from cli.supervisor.process import Child, State

if TYPE_CHECKING:
    from cli.supervisor.plan import Plan

DETACHED_AND_READY = "\x04"
"""The last line that a detached supervisor writes to the terminal it was started from."""


class SteadyConsole(Console):
    """One that does not end the program when its reader has ended."""

    def on_broken_pipe(self) -> None:
        write_to(Path(os.devnull))


class Terminal:
    """Lines, and a spinner below them where a person watches."""

    def __init__(self) -> None:
        self._console = SteadyConsole(highlight=False, soft_wrap=True, markup=False)
        self._seen: set[str] = set()

    def say(self, line: str = "") -> None:
        try:
            self._console.print(line)
        except OSError:
            self.fall_silent()

    def fall_silent(self) -> None:
        """The terminal was closed: nobody listens any more."""
        write_to(Path(os.devnull))

    @contextlib.contextmanager
    def busy(self, what: str) -> Iterator[None]:
        if self._console.is_terminal:
            with self._console.status(f"{what} ..."):
                yield
        else:
            self.say(what)
            yield

    def child_changed(self, child: Child) -> None:
        name = child.program.name
        match child.state:
            case State.READY if name not in self._seen:
                self._seen.add(name)
                self.say(f"  {name:<18} ready, port {child.program.port}, process {child.pid}")
            case State.READY:
                self.say(f"  {name:<18} ready again, process {child.pid}")
            case State.RESTARTING:
                self.say(f"  {name:<18} {child.note} (log: {child.program.log})")

    def everything_ready(self, plan: "Plan", data: Path, seconds: float) -> None:
        question = '{"model":"auto","stream":true,"messages":[{"role":"user","content":"Hello"}]}'
        event = """'{"input":"Hello"}'"""
        self.say(f"\nRoundhouse is up after {seconds:.1f} s: {plan.url} (data in {data})\n")
        self.say('Try:\n  ./roundhouse ask "What is a roundhouse?"')
        self.say(
            f"  curl -N {plan.url}/v1/chat/completions -H 'content-type: application/json'"
            f" -d '{question}'"
        )
        self.say(f"  echo {event} | ./roundhouse publish inference.requested -\n")

    def stay(self) -> None:
        self.say("Ctrl-C stops everything.")

    def leave_for(self, log: Path) -> None:
        """The program that started this one may go on; from now on, write to `log`."""
        self.say(DETACHED_AND_READY)
        sys.stdout.flush()
        write_to(log)


def write_to(file: Path) -> None:
    """Everything that this process says from now on."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
