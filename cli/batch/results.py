"""The file of results: a line each, appended as they come, true after any kill."""

import fcntl
import hashlib
import os
import stat
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic_core import from_json, to_json

from cli.errors import UserError

ANOTHER = "Choose another --out."
NOTHING, COMPLETED, OTHERWISE = range(3)
"""What is known of how a line ended."""

MOST_RETRIES = 255

BEGINNING = b'{"line":'
"""Of every result."""


class Lines:
    """What is known of every line of the input: some bytes each, whatever its size."""

    def __init__(self) -> None:
        self._ids = array("Q", [0])  # by number, from 1; 0 where there is no request
        self._ends = bytearray(1)
        self._retries = bytearray(1)
        self.count = self.completed = self.otherwise = 0

    def expect(self, number: int, line_id: str) -> None:
        """Lines come in the order of their numbers; one left out has no request."""
        missing = number + 1 - len(self._ids)
        self._ids.extend([0] * missing)
        self._ends.extend(bytes(missing))
        self._retries.extend(bytes(missing))
        self._ids[number] = _short(line_id)
        self.count += 1

    def knows(self, number: int, line_id: str) -> bool:
        return 0 < number < len(self._ids) and self._ids[number] == _short(line_id)

    def __len__(self) -> int:
        return len(self._ids)

    def is_request(self, number: int) -> bool:
        return 0 < number < len(self._ids) and self._ids[number] != 0

    def end(self, number: int) -> int:
        return self._ends[number]

    def retries(self, number: int) -> int:
        """How often it was asked anew after it had ended without an answer."""
        return self._retries[number]

    def ended(self, number: int, outcome: str, retries: int) -> None:
        before, end = self._ends[number], COMPLETED if outcome == "completed" else OTHERWISE
        self.completed += (end == COMPLETED) - (before == COMPLETED)
        self.otherwise += (end == OTHERWISE) - (before == OTHERWISE)
        self._ends[number], self._retries[number] = end, retries


class Results:
    """One process at a time holds it. Of several results of a line, the last retry counts."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._superseded = False

    def load(self, lines: Lines) -> None:
        """Take note of what is there, and mend a last line that was cut off.

        Raise `UserError`, with nothing changed, where something else is there.
        """
        whole, raw = 0, b""
        for at, (raw, result) in enumerate(self._read(), 1):
            if result is not None:
                self._note(result, lines)
                whole += len(raw)
            elif not _cut_off(raw):
                raise UserError(f"{self.path}:{at} is no result of a run.", ANOTHER)
        os.ftruncate(self._descriptor, whole)
        if whole and not raw.endswith(b"\n") and _parsed(raw) is not None:
            os.write(self._descriptor, b"\n")

    def add(self, result: dict[str, Any], lines: Lines) -> None:
        """Append one, whole. Raise `UserError` where that cannot be, with nothing added."""
        size = os.fstat(self._descriptor).st_size
        line = to_json(result) + b"\n"
        try:
            why = "" if os.write(self._descriptor, line) == len(line) else "the disk is full"
        except OSError as error:
            why = error.strerror or str(error)
        if why:
            os.ftruncate(self._descriptor, size)
            raise UserError(
                f"{self.path} cannot be written: {why}.",
                "Make room, then run the same command again: it goes on where it stopped.",
            )
        self._note(result, lines)

    def all(self) -> Iterator[dict[str, Any]]:
        return (result for _, result in self._read() if result is not None)

    def settle(self, lines: Lines) -> None:
        """Leave one result a line: drop those that a retry has taken the place of."""
        if self._superseded:
            self._rewrite(lines)
        os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)

    def _note(self, result: dict[str, Any], lines: Lines) -> None:
        number = result["line"]
        if not lines.knows(number, result["id"]):
            raise UserError(
                f"{self.path} has a result of another request for line {number}: the input or "
                "--task or --model is not what it was.",
                ANOTHER,
            )
        self._superseded = self._superseded or lines.end(number) != NOTHING
        lines.ended(number, result["outcome"], max(result["retry"], lines.retries(number)))

    def _read(self) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
        with os.fdopen(os.open(self.path, os.O_RDONLY), "rb") as file:
            for raw in file:
                yield raw, _parsed(raw)

    def _rewrite(self, lines: Lines) -> None:
        partial = self.path.with_name(f"{self.path.name}.partial")
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        written = bytearray(len(lines))
        with os.fdopen(os.dup(descriptor), "wb") as file:
            for result in self.all():
                number = result["line"]
                if result["retry"] == lines.retries(number) and not written[number]:
                    written[number] = True
                    file.write(to_json(result) + b"\n")
        os.fsync(descriptor)
        partial.replace(self.path)
        os.close(self._descriptor)
        self._descriptor, self._superseded = descriptor, False


@contextmanager
def held(path: Path, source: os.stat_result) -> Iterator[Results]:
    """Open it for this process alone. `source` is what the input is, which it must not be."""
    results = Results(path, _locked(path, source))
    try:
        yield results
    finally:
        results.close()


def _locked(path: Path, source: os.stat_result) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}.", ANOTHER) from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or os.path.samestat(status, source):
        os.close(descriptor)
        what = "the input itself" if stat.S_ISREG(status.st_mode) else "no file"
        raise UserError(f"{path} is {what}.", ANOTHER)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise UserError(f"Another run is writing to {path}.", "Wait for it, or end it.") from error
    if not os.path.samestat(status, path.stat()):  # it has just put another one in its place
        os.close(descriptor)
        return _locked(path, source)
    return descriptor


def _parsed(raw: bytes) -> dict[str, Any] | None:
    """A line of the file, None for what is no result."""
    try:
        found = from_json(raw)
        whole = {"line": int, "id": str, "outcome": str, "retry": int}
        return found if all(type(found[name]) is kind for name, kind in whole.items()) else None
    except (ValueError, KeyError, TypeError):
        return None


def _cut_off(raw: bytes) -> bool:
    """Whether this is the beginning of a result, from which its writer was torn away."""
    return not raw.endswith(b"\n") and (raw.startswith(BEGINNING) or BEGINNING.startswith(raw))


def _short(line_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(line_id.encode(), digest_size=8).digest()) or 1
