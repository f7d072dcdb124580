"""Reading what a person hands over: bounded, and with an error that says what is wrong with it."""

import sys
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from cli.errors import UserError
from shared.events.base import Event

E = TypeVar("E", bound=Event)

MIB = 1024 * 1024
MAX_BODY_BYTES = 16 * MIB
"""Of a request, as everywhere."""

STANDARD_INPUT = Path("-")


def read_text(path: Path) -> str:
    """The whole of a file, or of the standard input for `-`. Raise `UserError`."""
    source = "The input" if path == STANDARD_INPUT else str(path)
    try:
        if path == STANDARD_INPUT:
            content = sys.stdin.buffer.read(MAX_BODY_BYTES + 1)
        else:
            with path.open("rb") as file:
                content = file.read(MAX_BODY_BYTES + 1)
    except OSError as error:
        raise UserError(
            f"{source} cannot be read: {error.strerror}.", "Name a file, or - for the input."
        ) from error
    if len(content) > MAX_BODY_BYTES:
        raise too_large(source)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{source} is not UTF-8 text: byte {error.start + 1}, in line {line}.",
            "Convert it first, for example with iconv -f latin1 -t utf-8.",
        ) from error


def argument_text(argument: str) -> str:
    """An argument, which the shell may pass in any encoding. Raise `UserError`."""
    try:
        argument.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"The text is not UTF-8: character {error.start + 1}.",
            "Set the terminal to UTF-8, or hand the text over as a file: ask - < file",
        ) from error
    return argument


def parse(event_class: type[E], text: str, source: str) -> E:
    """The event that `text` (JSON) says; `source` names it in a `UserError`."""
    try:
        return event_class.model_validate_json(text)
    except ValidationError as error:
        raise UserError(
            f"{source} is no {event_class.type}: {problems(error)}.",
            f"See shared/contracts/{event_class.type}.schema.json",
        ) from error


def problems(error: ValidationError) -> str:
    """What is wrong where, on one line. Values are left out: one may be a pasted secret."""
    return "; ".join(
        f"{'.'.join(str(part) for part in each['loc']) or 'data'}: {_said(each)}"
        for each in error.errors(include_url=False, include_input=False)
    )


def too_large(source: str) -> UserError:
    return UserError(
        f"{source} is larger than {MAX_BODY_BYTES // MIB} MiB, the limit of a request.",
        "Split it, or send a shorter extract.",
    )


def _said(details: ErrorDetails) -> str:
    if details["type"] == "string_pattern_mismatch":
        return "this is not a name; use letters, digits and . _ : / @ + -"
    return details["msg"]
