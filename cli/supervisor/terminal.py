"""What `up` tells the person in front of it."""

import contextlib
import errno
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from cli.supervisor import ports
from cli.supervisor.announcement import announcement
from cli.supervisor.folder import DataFolder, RunState
from cli.supervisor.process import Child, State

DETACHED_AND_READY = "\x04"
"""The last line that a detached supervisor writes to the terminal it was started from."""

ANSWER = "\x02"
"""Before the line of a detached supervisor that is for standard output."""

STILL_EVERY_S = 2.0


ERASE = "\r\033[K"
BOTH = (1, 2)
"""Standard output and the error output."""


class Terminal:
    """Lines, and below them, where a person watches, what is being done.

    `as_json`: these go to the error output, and standard output gets one document.
    """

    def __init__(self, *, as_json: bool = False, detached: bool = False) -> None:
        self._as_json = as_json
        self._mark = ANSWER if detached else ""
        self._doing = ""
        self._seen: set[str] = set()
        self._told_s: dict[str, float] = {}

    def say(self, line: str = "") -> None:
        self._write(f"{line}\n")

    def answer(self, document: str) -> None:
        self._put(sys.stdout, f"{self._mark}{document}\n")

    def fall_silent(self) -> None:
        """The terminal was closed: nobody listens any more."""
        write_to(Path(os.devnull))

    @contextlib.contextmanager
    def busy(self, what: str) -> Iterator[None]:
        if not self._lines.isatty():
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

    def everything_ready(self, folder: DataFolder, state: RunState, seconds: float) -> None:
        if self._as_json:
            self.answer(json.dumps(announcement(folder, state, seconds)))
            return
        url = ports.url(state.http_host, state.http_port)
        question = '{"model":"auto","stream":true,"messages":[{"role":"user","content":"Hello"}]}'
        event = """'{"input":"Hello"}'"""
        self.say(f"\nRoundhouse is up after {seconds:.1f} s: {url} (data in {folder.root})\n")
        self.say('Try:\n  ./roundhouse ask "What is a roundhouse?"')
        self.say(
            f"  curl -N {url}/v1/chat/completions -H 'content-type: application/json'"
            f" -d '{question}'"
        )
        self.say(f"  echo {event} | ./roundhouse publish inference.requested -\n")

    def already_runs(self, folder: DataFolder) -> None:
        """Said by the error that follows, except to a program."""
        if self._as_json:
            self.answer(json.dumps(announcement(folder, folder.running(), None)))

    def stay(self) -> None:
        self.say("Ctrl-C stops everything.")

    def leave_for(self, log: Path) -> None:
        """The program that started this one may go on; from now on, write to `log`."""
        self.say(DETACHED_AND_READY)
        write_to(log)

    def _do(self, what: str) -> None:
        self._doing = what
        self._write("")

    @property
    def _lines(self) -> TextIO:
        return sys.stderr if self._as_json else sys.stdout

    def _write(self, text: str) -> None:
        line = f"{ERASE}{text}{self._doing}" if self._lines.isatty() else text
        self._put(self._lines, line)

    def _put(self, output: TextIO, text: str) -> None:
        try:
            output.write(text)
            output.flush()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):  # a full disk has room again
                write_to(Path(os.devnull), *([output.fileno()] if self._as_json else BOTH))


def write_to(file: Path, *outputs: int) -> None:
    """Everything that this process says there from now on."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for output in outputs or BOTH:
        os.dup2(descriptor, output)
    os.close(descriptor)
