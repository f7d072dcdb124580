"""From roundhouse.yaml to a `Config`, or to a list of what is wrong and where."""

import types
import typing
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path as FilePath
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from shared.config.document import ConfigError, Document, Path, Place, Problem, read_document
from shared.config.models import Config

MESSAGES = {
    "int_type": "{at} must be a whole number; write it without quotes",
    "float_type": "{at} must be a number; write it without quotes",
    "bool_type": "{at} must be true or false; write it without quotes",
    "string_type": "{at} must be text; put it in quotes",
    "string_too_short": "{at} is empty; write something or leave the key out",
    "greater_than": "{at} must be more than {gt:g}; choose a larger number",
    "greater_than_equal": "{at} must be at least {ge:g}; choose a larger number",
    "less_than_equal": "{at} must be at most {le:g}; choose a smaller number",
    "finite_number": "{at} must be a finite number; choose one",
    "model_type": "{at} must be a mapping; write it as key: value",
    "model_attributes_type": "{at} must be a mapping; write it as key: value",
    "dict_type": "{at} must be a mapping; write it as key: value",
    "tuple_type": "{at} must be a list; write it as [a, b]",
    "string_pattern_mismatch": "{at} is not a name; use up to 128 letters, digits and . _ : / @ + -"
    ", starting with a letter or a digit",
}
"""By pydantic's type of error. The value itself is never shown: it may be a pasted secret."""

KEY_LOCATION = "[key]"


def load_config(path: FilePath | None) -> Config:
    """The file's configuration; the built-in one for None. Raise `ConfigError`."""
    if path is None:
        return Config()
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        message = f"cannot be read ({error.strerror}); name a file that exists, or none"
        raise ConfigError(str(path), (Problem((1, 1), message),)) from error
    except UnicodeDecodeError as error:
        message = "is not UTF-8 text; save it as UTF-8"
        raise ConfigError(str(path), (Problem((1, 1), message),)) from error
    return parse_config(text, str(path))


def parse_config(text: str, source: str) -> Config:
    """The configuration that `text` (YAML) says; `source` names it in a `ConfigError`."""
    document = read_document(text, source)
    problems = list(document.problems)
    data = {} if document.data is None else document.data
    if isinstance(data, dict):
        data = {key: value for key, value in data.items() if value is not None}
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        problems += [_problem(document, details) for details in error.errors()]
    if problems:
        ordered = sorted(dict.fromkeys(problems), key=lambda problem: problem.place)
        raise ConfigError(source, tuple(ordered))
    return config


def locate(text: str, path: Path) -> Place:
    """Line and column of what `path` names, or of the nearest part around it; (1, 1) for none."""
    return read_document(text, "").key_place(path)


def suggestion(name: str, known: Collection[str]) -> str:
    """What to do about a name that is not among the known ones."""
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"choose one of {', '.join(sorted(known))}" if known else "leave it out"


def _problem(document: Document, details: ErrorDetails) -> Problem:
    path = tuple(part for part in details["loc"] if part != KEY_LOCATION)
    section = path[:-1]
    of_key = path != details["loc"] or details["type"] == "extra_forbidden"
    place = document.key_place(path) if of_key else document.place(path)
    context = details.get("ctx", {})
    at = _said(path)
    match details["type"]:
        case "extra_forbidden":
            todo = suggestion(str(path[-1]), _known_keys(section))
            message = f"{_said(section)}: unknown key {path[-1]!r}; {todo}"
        case "literal_error" | "enum":
            choices = context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
            message = f"{at} has no such choice; {suggestion(str(details['input']), choices)}"
        case "value_error":
            message = f"{at} {context['error']}"
        case "missing":
            message = f"{_said(section)} has no {path[-1]!r}; add it"
        case kind:
            template = MESSAGES.get(kind, "{at}: " + details["msg"] + "; correct it")
            message = template.format(at=at, **context)
    return Problem(place, message)


def _said(path: Path) -> str:
    said = ""
    for part in path:
        said += f"[{part}]" if isinstance(part, int) else f".{part}"
    return said.lstrip(".") or "the file"


def _known_keys(path: Path) -> Collection[str]:
    """Keys that the section at `path` takes."""
    at: Any = Config
    for part in path:
        at = _inside(at, part)
    return at.model_fields.keys() if _is_section(at) else ()


def _inside(kind: Any, part: str | int) -> Any:
    if _is_section(kind):
        return _bare(kind.model_fields[part].annotation)
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is dict:
        return _bare(arguments[1])
    return _bare(arguments[0])


def _bare(kind: Any) -> Any:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return typing.get_args(kind)[0]
    return kind


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
