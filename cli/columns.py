"""Plain tables: nothing is cut off, so that what they show can be copied and piped."""

import unicodedata
from collections.abc import Sequence

GAP = "  "
_CONTROLS = {
    code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"
}


def visible(text: str) -> str:
    """Text from elsewhere with its control characters spelled out: they could steer a terminal."""
    return text.translate(_CONTROLS)


def columns(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows under their headings, a line each, left-aligned."""
    table = [tuple(headings), *[[_cell(cell) for cell in row] for row in rows]]
    widths = [max(_width(row[at]) for row in table) for at in range(len(headings))]
    return "\n".join(_line(row, widths) for row in table)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True))
    return GAP.join(padded).rstrip()


def _cell(text: str) -> str:
    return visible(" ".join(text.split()))


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)
