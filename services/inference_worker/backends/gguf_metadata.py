"""The metadata of a GGUF file, read without its tensors.

The gguf library reads them too, but a vocabulary of 150 000 tokens takes it 8 s and 400 MiB;
this takes the worker milliseconds, and no NumPy.
"""

import struct
from pathlib import Path
from typing import Any, BinaryIO

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MOST_KEYS = 100_000
MOST_BYTES = 1 << 28
"""Of one text, or of one array. More is a broken file, not a model."""

MOST_KEPT = 4096
"""Arrays longer than this (vocabularies, merges) are stepped over."""

STRING, ARRAY = 8, 9
NUMBERS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
"""`struct` codes by GGUF's number for a type."""


class NotGgufError(Exception):
    """The file cannot be read as a GGUF model. Says why."""


def read_metadata(path: Path) -> dict[str, Any]:
    """All keys and values but long arrays, which are None. Raise `NotGgufError` or `OSError`."""
    with path.open("rb") as file:
        return _Reader(file, path.stat().st_size).metadata()


class _Reader:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size

    def metadata(self) -> dict[str, Any]:
        if self._take(4) != MAGIC:
            raise NotGgufError("does not begin as a GGUF file does")
        version = self._number("I")
        if version not in VERSIONS:
            raise NotGgufError(
                f"is GGUF version {version}; only 2 and 3 in little-endian are known"
            )
        self._number("Q")  # how many tensors
        keys = self._count("Q", MOST_KEYS)
        return {self._text(): self._value(self._number("I")) for _ in range(keys)}

    def _value(self, kind: int) -> Any:
        if kind == STRING:
            return self._text()
        if kind == ARRAY:
            return self._array()
        return self._number(self._code(kind))

    def _array(self) -> list[Any] | None:
        kind = self._number("I")
        if kind == ARRAY:
            raise NotGgufError("has arrays inside arrays")
        length = self._count("Q", MOST_BYTES)
        if length <= MOST_KEPT:
            return [self._value(kind) for _ in range(length)]
        if kind != STRING:
            self._step(length * struct.calcsize(self._code(kind)))
            return None
        for _ in range(length):
            self._step(self._count("Q", MOST_BYTES))
        return None

    def _text(self) -> str:
        return self._take(self._count("Q", MOST_BYTES)).decode(errors="replace")

    def _step(self, length: int) -> None:
        if self._file.seek(length, 1) > self._size:
            raise NotGgufError("ends in the middle of its metadata")

    def _code(self, kind: int) -> str:
        if kind not in NUMBERS:
            raise NotGgufError(f"has a value of unknown type {kind}")
        return NUMBERS[kind]

    def _count(self, code: str, most: int) -> int:
        count = int(self._number(code))
        if count > most:
            raise NotGgufError(f"claims a length of {count}")
        return count

    def _number(self, code: str) -> Any:
        layout = "<" + code
        return struct.unpack(layout, self._take(struct.calcsize(layout)))[0]

    def _take(self, length: int) -> bytes:
        data = self._file.read(length)
        if len(data) < length:
            raise NotGgufError("ends in the middle of its metadata")
        return data
