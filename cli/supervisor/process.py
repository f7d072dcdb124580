"""One process: started, found ready, restarted when it ends, stopped."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from cli.errors import UserError

READY_WITHIN_S = 60.0
"""Without news of what is still missing: a store that reads large files says how far it is."""
UNNEEDED_WITHIN_S = 20.0
TRIES = 3
"""Ends before it was ever ready, after which starting again is not worth the wait."""

PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0, 10.0)
STEADY_S = 60.0
"""Who ran for so long starts again with the shortest pause."""

HURRIED_S = 1.0
LOG_LIMIT_BYTES = 8 * 1024 * 1024
LAST_WORDS_BYTES = 8192


class State(StrEnum):
    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Program:
    """What to run. `lacks` says why it is not ready, `explain` what the end of its log means.

    `section` names the part of the configuration without which it has nothing to do.
    What is not `needed` may fail without keeping the others from starting.
    """

    name: str
    store: bool
    command: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    log: Path
    port: int
    lacks: Callable[[], Awaitable[str | None]]
    explain: Callable[[str], UserError | None]
    section: str = ""
    stop_signal: signal.Signals = signal.SIGTERM
    needed: bool = True


class Child:
    """Keeps one program running until told to stop. Every change of state is announced."""

    def __init__(self, program: Program, changed: Callable[["Child"], None]) -> None:
        self.program = program
        self.state = State.WAITING
        self.pid: int | None = None
        self.restarts = 0
        self.note = ""
        self._announce = changed
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._log_start = 0
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def launched(self) -> bool:
        return self._task is not None

    def launch(self) -> None:
        self._task = asyncio.create_task(self._keep())

    async def until_ready(self) -> None:
        """Raise `UserError` when it will not become ready, or not soon enough."""
        clock = asyncio.get_running_loop().time
        within_s = READY_WITHIN_S if self.program.needed else UNNEEDED_WITHIN_S
        known = {self.note}
        try:
            async with asyncio.timeout(within_s) as patience:
                while self.state is not State.READY:
                    self._changed.clear()
                    if self.state is State.RESTARTING:
                        self._give_up_if_hopeless()
                    await self._changed.wait()
                    if self.note not in known:
                        known.add(self.note)
                        patience.reschedule(clock() + within_s)
        except TimeoutError:
            raise self._failure(f"is not ready after {within_s:g} s: {self.note}") from None

    async def stop(self, grace_s: float, hurry: asyncio.Event) -> None:
        """Ask it to end; end its whole group after `grace_s`, or as soon as `hurry` is set."""
        self._stopping.set()
        if self._task is None:
            return
        if hurry.is_set():
            grace_s, hurry = min(grace_s, HURRIED_S), asyncio.Event()
        self._ask_to_end()
        hurried = asyncio.create_task(hurry.wait())
        await asyncio.wait(
            {self._task, hurried}, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED
        )
        hurried.cancel()
        if self.pid is not None:
            end_group(self.pid)
        await self._task

    async def _keep(self) -> None:
        pause = 0
        while not self._stopping.is_set():
            started_s = time.monotonic()
            end = await self._run()
            if self._stopping.is_set():
                break
            pause = 0 if time.monotonic() - started_s > STEADY_S else pause
            pause_s = PAUSES_S[min(pause, len(PAUSES_S) - 1)]
            pause += 1
            self.restarts += 1
            self._become(State.RESTARTING, f"{end}; starts again in {pause_s:g} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)
        self._become(State.STOPPED)

    async def _run(self) -> str:
        """Run it once; say how it ended."""
        try:
            self._process = await self._spawn()
        except OSError as error:
            return f"cannot be started ({error.strerror}: {error.filename})"
        self.pid = self._process.pid
        if self._stopping.is_set():
            self._ask_to_end()
        self._become(State.STARTING)
        watch = asyncio.create_task(self._watch())
        code = await self._process.wait()
        watch.cancel()
        end_group(self.pid)
        self.pid = None
        return how_it_ended(code)

    async def _spawn(self) -> asyncio.subprocess.Process:
        with open_log(self.program.log) as log:
            self._log_start = log.tell()
            return await asyncio.create_subprocess_exec(
                *self.program.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self.program.environment),
                cwd=self.program.folder,
                start_new_session=True,
            )

    async def _watch(self) -> None:
        while lack := await self.program.lacks():
            if lack != self.note:
                self._become(State.STARTING, lack)
            await asyncio.sleep(0.05)
        self._become(State.READY)

    def _ask_to_end(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(self.program.stop_signal)

    def _become(self, state: State, note: str = "") -> None:
        self.state, self.note = state, note
        self._announce(self)
        self._changed.set()

    def _give_up_if_hopeless(self) -> None:
        explained = self.program.explain(self._last_words())
        if explained is not None:
            raise explained
        if self.restarts >= TRIES:
            raise self._failure(f"ended {TRIES} times before it was ready")

    def _failure(self, what: str) -> UserError:
        lines = self._last_words().splitlines()[-8:]
        return UserError(
            f"{self.program.name} {what}.\n" + "\n".join(f"    | {line}" for line in lines),
            f"These are the last lines of {self.program.log}. "
            "./roundhouse doctor may know what is missing.",
        )

    def _last_words(self) -> str:
        """The end of what it logged since it was started last."""
        with self.program.log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, size - LAST_WORDS_BYTES))
            return log.read().decode(errors="replace")


def end_group(pid: int) -> None:
    """End a process that leads a group, and every process that it left in that group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was ended by {signal.Signals(-code).name}"


def open_log(path: Path) -> BinaryIO:
    """Append to the log; a long one is put aside first, in place of the one put aside before."""
    if path.exists() and path.stat().st_size > LOG_LIMIT_BYTES:
        path.replace(path.with_suffix(".log.1"))
    return path.open("ab")
