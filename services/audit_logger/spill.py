"""Rows that wait on disk for a database that has been away for too long."""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

FILE_BYTES = 64 * 1024 * 1024
"""A full file is followed by another; each is removed as soon as its rows are in the database."""

PAGE = 256


class Spill:
    """Appends rows, a JSON object a line, and gives them back in their order, perhaps twice.

    Each process writes files of its own and holds the last one; any process may replay a file
    that nobody holds.
    """

    def __init__(self, folder: Path, instance: str) -> None:
        self._folder = folder
        self._instance = instance
        self._open: int | None = None
        self._number = 0

    def write(self, rows: Sequence[bytes]) -> None:
        """Return once they would survive a crash of the machine. Raises `OSError`."""
        if self._open is not None and os.fstat(self._open).st_size >= FILE_BYTES:
            self.close()
        if self._open is None:
            self._open = self._next_file()
        whole = b"".join(row + b"\n" for row in rows)
        if os.write(self._open, whole) < len(whole):
            self.close()  # the next line must not follow half a one
            raise OSError("the disk took only a part")
        os.fsync(self._open)

    def close(self) -> None:
        """What is written from now on goes to another file."""
        if self._open is not None:
            os.close(self._open)
            self._open = None

    def files(self) -> list[Path]:
        """All that there are, oldest first."""
        return sorted(self._folder.glob("*.jsonl"), key=lambda file: file.stat().st_mtime_ns)

    def refuse(self, row: bytes) -> None:
        """Keep a row that no database will ever take, for people to look at."""
        with (self._folder / "refused").open("ab") as file:
            file.write(row + b"\n")

    def _next_file(self) -> int:
        """Made anew: the last line of one that a killed process left may be torn."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            self._number += 1
            file = self._folder / f"{self._instance}-{self._number:04}.jsonl"
            try:
                descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            except FileExistsError:
                continue
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            folder = os.open(self._folder, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
            return descriptor


@contextmanager
def held(file: Path) -> Iterator[bool]:
    """Whether nobody else writes or replays the file; then nobody will, until the end."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


def pages(file: Path) -> Iterator[list[bytes]]:
    """The rows of a file. A line without an end was never acknowledged, and comes again."""
    page = []
    with file.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                page.append(line[:-1])
            if len(page) == PAGE:
                yield page
                page = []
    if page:
        yield page
