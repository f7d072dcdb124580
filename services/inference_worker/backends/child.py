"""One llama.cpp server in a process of its own, from spawn to reaping."""

import asyncio
import json
import os
import re
import secrets
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from services.inference_worker.backends.failures import MEMORY_WORDS
from services.inference_worker.backends.http import EngineHttp
from services.inference_worker.backends.port import BackendError, Profile
from shared.events.inference import FailureReason

PROGRAM = Path(__file__).parent.parent / "llama_server.py"
KEY_VARIABLE = "LLAMA_SERVER_KEY"

TERMINATE_S = 2.0
"""Between SIGTERM and SIGKILL. A healthy server is gone within 20 ms."""

KILL_S = 5.0
"""After SIGKILL. What is still there then waits in the kernel, for a driver or a disk."""

ERROR_LINE = re.compile(r"^[\d.]+ E (.+)$", re.MULTILINE)
"""An error in llama.cpp's log. The first one is the cause, the others are its echoes."""

MOST_LOG_CHARACTERS = 1 << 16


@dataclass(frozen=True, slots=True)
class Launch:
    """What to start: the model file, its profile and the further options of `llama_server`."""

    path: Path
    profile: Profile
    log: Path
    ready_s: float
    connect_s: float
    options: Sequence[str] = ()


class Child:
    """A server that answers. `exited` completes with its status when the process is gone."""

    def __init__(
        self, process: asyncio.subprocess.Process, http: EngineHttp, profile: Profile
    ) -> None:
        self.http = http
        self.profile = profile
        self.exited = asyncio.create_task(_end(process))
        self.is_stopping = False
        self._process = process

    @property
    def measured_mib(self) -> int | None:
        """Resident memory of the process, in MiB; None once it is gone."""
        try:
            rss = psutil.Process(self._process.pid).memory_info().rss
        except psutil.Error:
            return None
        return rss >> 20 if rss else None  # a zombie has none

    async def stop(self) -> None:
        """Return when the process is gone. Raise `HUNG` if not even SIGKILL ends it."""
        self.is_stopping = True
        for number, patience_s in ((signal.SIGTERM, TERMINATE_S), (signal.SIGKILL, KILL_S)):
            if not self.exited.done():
                with suppress(ProcessLookupError):  # it died, and nobody has noticed yet
                    os.killpg(self._process.pid, number)
                await asyncio.wait([self.exited], timeout=patience_s)
        if not self.exited.done():
            raise BackendError(
                FailureReason.HUNG,
                f"process {self._process.pid} of {self.profile.model} survived SIGKILL;"
                " a driver holds it: only a restart of the machine may free its memory",
            )


async def start(launch: Launch) -> Child:
    """Return once the model answers. Raise `BackendError`, with the process gone, where
    llama.cpp fails on the file or is not ready within `ready_s`."""
    key = secrets.token_urlsafe()
    process = await _spawn(launch, key)
    ready = False
    try:
        async with asyncio.timeout(launch.ready_s):
            line = await _stdout(process).readline()
        answer = json.loads(line or "{}")
        if not answer.get("ready"):
            raise await _load_failure(launch, process)
        ready = True
    except TimeoutError as error:
        raise BackendError(
            FailureReason.TIMED_OUT,
            f"{launch.profile.model} did not load within {launch.ready_s:.0f} s; see {launch.log}",
        ) from error
    finally:
        if not ready and process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await _end(process)
    http = EngineHttp(answer["url"], connect_s=launch.connect_s, api_key=key, hangs_up=True)
    return Child(process, http, launch.profile)


async def _spawn(launch: Launch, key: str) -> asyncio.subprocess.Process:
    profile = launch.profile
    try:
        launch.log.parent.mkdir(parents=True, exist_ok=True)
        with launch.log.open("wb") as log:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", PROGRAM, launch.path, "--until-stdin-closes"),
                *("--alias", profile.model, "--slots", str(profile.slots)),
                *("--context", str(profile.context_tokens), *launch.options),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**os.environ, KEY_VARIABLE: key},
                start_new_session=True,
            )
    except OSError as error:
        raise BackendError(
            FailureReason.REFUSED, f"llama.cpp cannot be started for {profile.model}: {error}"
        ) from error


async def _end(process: asyncio.subprocess.Process) -> int:
    """The status with which the process ended; its pipes have been closed by then."""
    await _stdout(process).read()
    return await process.wait()


def _stdout(process: asyncio.subprocess.Process) -> asyncio.StreamReader:
    if process.stdout is None:
        raise RuntimeError("spawned without a pipe for its ready line")
    return process.stdout


async def _load_failure(launch: Launch, process: asyncio.subprocess.Process) -> BackendError:
    status = await _end(process)
    text = launch.log.read_text(errors="replace")[:MOST_LOG_CHARACTERS]
    found = ERROR_LINE.search(text)
    if found:
        cause = found[1]
    elif status < 0:
        cause = f"killed by {signal.Signals(-status).name}"
    else:
        cause = (text.strip().splitlines() or [f"exit status {status}"])[-1]
    reason = FailureReason.OUT_OF_MEMORY if MEMORY_WORDS.search(text) else FailureReason.CRASHED
    return BackendError(
        reason, f"llama.cpp cannot load {launch.path.name}: {cause}; see {launch.log}"
    )
