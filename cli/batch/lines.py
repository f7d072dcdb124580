"""The requests of a file, a line each: read as often as needed, and never held all at once."""

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ValidationError

from cli.errors import UserError
from cli.exchange import attributes_of
from cli.input import MAX_BODY_BYTES, MIB, STANDARD_INPUT, problems
from shared.bus.ids import idempotent_request_id
from shared.events.base import Priority, RequestId
from shared.events.inference import InferenceRequested

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
HOW_SOON = {"priority", "deadline_ms"}
"""Changes when an answer comes and not which: no part of what identifies a request."""


@dataclass(frozen=True)
class Wishes:
    """What was asked for on the command line, instead of what the lines say."""

    task: str | None = None
    model: str | None = None
    priority: Priority | None = None
    deadline_ms: int | None = None

    @property
    def given(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Line:
    """One request, ready to be published. `id` is the line's own, or follows from its content."""

    number: int
    id: str
    body: bytes
    extensions: dict[str, str]


@dataclass(frozen=True, slots=True)
class BadLine:
    number: int
    why: str


class Asked(InferenceRequested):
    """What a line may say: a request, and the id that it is to have."""

    id: RequestId | None = None


class Requests:
    """Lines that are blank count, and are no requests."""

    def __init__(self, file: BinaryIO, name: str, wishes: Wishes) -> None:
        self._file = file
        self._wishes = wishes.given
        self.name = name

    @property
    def status(self) -> os.stat_result:
        return os.fstat(self._file.fileno())

    def raw(self) -> Iterator[tuple[int, bytes]]:
        """Number (from 1) and content of each line; one that is too long is cut off."""
        self._file.seek(0)
        number = 0
        while raw := self._file.readline(MAX_BODY_BYTES + 1):
            number += 1
            rest = raw
            while len(rest) > MAX_BODY_BYTES and not rest.endswith(b"\n"):
                rest = self._file.readline(MAX_BODY_BYTES + 1)
            if raw.strip():
                yield number, raw

    def parse(self, number: int, raw: bytes) -> Line | BadLine:
        if len(raw) > MAX_BODY_BYTES:
            return BadLine(number, f"is larger than {MAX_BODY_BYTES // MIB} MiB")
        try:
            asked = Asked.model_validate_json(raw.removeprefix(BYTE_ORDER_MARK))
            if self._wishes:
                asked = Asked.model_validate({**dict(asked), **self._wishes})
        except ValidationError as error:
            return BadLine(number, problems(error))
        body = asked.model_dump_json(exclude={"id", *HOW_SOON}, exclude_none=True).encode()
        extensions = attributes_of(asked, len(body))
        return Line(number, asked.id or _derived(number, body), body, extensions)


@contextmanager
def opened(path: Path, wishes: Wishes) -> Iterator[Requests]:
    """The file; `-` is read to its end first, since its lines are needed twice."""
    _check(wishes)
    if path == STANDARD_INPUT:
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy)
            yield Requests(copy, "the input", wishes)
        return
    try:
        file = path.open("rb")
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror}.", "Name a file, or - for the input."
        ) from error
    with file:
        if not file.seekable():
            raise UserError(f"{path} is no file.", "Name a file, or - for the input.")
        yield Requests(file, str(path), wishes)


def _check(wishes: Wishes) -> None:
    try:
        Asked.model_validate({"input": "", **wishes.given})
    except ValidationError as error:
        raise UserError(
            f"This cannot be asked: {problems(error)}.", "See ./roundhouse run --help"
        ) from error


def _derived(number: int, body: bytes) -> str:
    """The same for the same line at the same place, in every run."""
    digest = hashlib.sha256(body).hexdigest()
    return idempotent_request_id("./roundhouse run", f"{number}:{digest}")
