"""The data folder: who holds it, what runs from it, and where its files are."""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from cli.errors import UserError

NEEDED_MIB = 64
"""Less free space than this, and the store could not even rewrite its files."""

MIB = 1024 * 1024


class AlreadyRunsError(UserError):
    """Another supervisor holds the folder."""


@dataclass(frozen=True)
class ProcessState:
    """One process as the supervisor last saw it."""

    name: str
    state: str
    pid: int | None
    port: int
    restarts: int
    note: str
    store: bool


@dataclass(frozen=True)
class RunState:
    """What one supervisor keeps running. `urls` of its stores hold their passwords."""

    pid: int
    http_host: str
    http_port: int
    redis_url: str
    urls: dict[str, str]
    external: tuple[str, ...]
    processes: tuple[ProcessState, ...]


class DataFolder:
    """Everything that `up` keeps between runs, under one folder that only its owner can read."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()
        self.logs = self.root / "logs"
        self.services = self.root / "services"
        self._lock = self.root / "lock"
        self.state_file = self.root / "state.json"
        self._held: os.stat_result | None = None

    def prepare(self) -> None:
        """Create what is missing. Raise `UserError` if nothing can be written there."""
        with writing_to(self.root):
            for folder in (self.root, self.logs, self.services):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock.touch(mode=0o600)
            probe = self.root / "probe"
            probe.write_bytes(b"\0" * 4096)
            probe.unlink()
        free_mib = shutil.disk_usage(self.root).free // MIB
        if free_mib < NEEDED_MIB:
            raise disk_full(self.root, f"{free_mib} MiB are left, {NEEDED_MIB} MiB are needed")

    @property
    def marker(self) -> str:
        """Says of a process that it was started from this folder; a copy has another one."""
        return f"{self.root}:{self._lock.stat().st_ino}"

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder. The kernel lets go of it when this process ends, however it ends."""
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if not _locked(descriptor):
                raise self._already_runs()
            os.ftruncate(descriptor, 0)
            os.write(descriptor, str(os.getpid()).encode())
            self._held = os.fstat(descriptor)
            yield
            os.ftruncate(descriptor, 0)
        finally:
            os.close(descriptor)

    @property
    def is_lost(self) -> bool:
        """Whether the folder that is held was deleted or moved, or another is in its place."""
        try:
            return self._held is not None and not os.path.samestat(self._held, self._lock.stat())
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:  # it may be back in a moment
            return False

    def holder(self) -> int | None:
        """Process id of the supervisor that holds the folder."""
        try:
            descriptor = os.open(self._lock, os.O_RDONLY)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(os.read(descriptor, 20) or b"0") or None
        else:
            return None
        finally:
            os.close(descriptor)

    def state(self) -> RunState | None:
        """What ran last, whether or not it still does."""
        try:
            said = json.loads(self.state_file.read_bytes())
            processes = tuple(ProcessState(**each) for each in said["processes"])
            return RunState(**{**said, "external": tuple(said["external"]), "processes": processes})
        except (OSError, ValueError, TypeError, KeyError):  # there is none, or of another version
            return None

    def running(self) -> RunState | None:
        """What runs now."""
        state = self.state()
        return state if state is not None and state.pid == self.holder() else None

    def write_state(self, state: RunState) -> None:
        partial = self.state_file.with_suffix(".partial")
        write_private(partial, json.dumps(asdict(state), indent=1))
        partial.replace(self.state_file)

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def _already_runs(self) -> AlreadyRunsError:
        state = self.state()
        where = f", http://{state.http_host}:{state.http_port}" if state else ""
        return AlreadyRunsError(
            f"Roundhouse already runs here (process {self.holder()}{where}, data in {self.root}).",
            "See it with ./roundhouse status, end it with ./roundhouse down, "
            "or start another one with --data and --port.",
        )


def _locked(descriptor: int) -> bool:
    """Several tries, since `holder` takes the lock for a moment to look at it."""
    for _ in range(10):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
        else:
            return True
    return False


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)


@contextlib.contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into a `UserError`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(path, error.strerror or "") from error
        raise UserError(
            f"Cannot write to {path}: {error.strerror}.",
            "Give yourself the right to write there, or choose another folder with --data DIR "
            "or ROUNDHOUSE_HOME.",
        ) from error


def disk_full(path: Path, detail: str) -> UserError:
    return UserError(
        f"The disk that holds {path} is full: {detail}.",
        "Make room, or choose a folder on another disk with --data DIR or ROUNDHOUSE_HOME.",
    )
