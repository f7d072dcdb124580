"""What `up` tells the person in front of it."""

import contextlib
import errno
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cli.supervisor.process import Child, State

if TYPE_CHECKING:
    from cli.supervisor.plan import Plan

DETACHED_AND_READY = "\x04"
"""The last line that a detached supervisor writes to the terminal it was started from."""

STILL_EVERY_S = 2.0


ERASE = "\r\033[K"


class Terminal:
    """Lines, and below them, where a person watches, what is being done."""

    def __init__(self) -> None:
        self._doing = ""
        self._seen: set[str] = set()
        self._told_s: dict[str, float] = {}

    def say(self, line: str = "") -> None:
        self._write(f"{line}\n")

    def fall_silent(self) -> None:
        """The terminal was closed: nobody listens any more."""
        write_to(Path(os.devnull))

    @contextlib.contextmanager
    def busy(self, what: str) -> Iterator[None]:
        if not sys.stdout.isatty():
            self.say(what)
            yield
            return
        self._do(f"{what} ...")
        try:
            yield
        finally:
            self._do("")

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
            case State.STARTING if child.program.store and child.note:
                self._still(name, child.note)

    def _still(self, name: str, lack: str) -> None:
        """Whoever waits long for a store with large files is told how far it is."""
        now_s = time.monotonic()
        since_s = self._told_s.setdefault(name, now_s)
        if now_s - since_s > STILL_EVERY_S:
            self._told_s[name] = now_s
            self.say(f"  {name:<18} {lack}")

    def not_started(self, child: Child) -> None:
        section = child.program.section
        self.say(f"  {child.program.name:<18} starts once the configuration has {section}")

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
        write_to(log)

    def _do(self, what: str) -> None:
        self._doing = what
        self._write("")

    def _write(self, text: str) -> None:
        line = f"{ERASE}{text}{self._doing}" if sys.stdout.isatty() else text
        try:
            sys.stdout.write(line)
            sys.stdout.flush()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):  # a full disk has room again
                self.fall_silent()


def write_to(file: Path) -> None:
    """Everything that this process says from now on."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
