"""Reading an entry of the inbox, whoever wrote it: attributes first, then what `data` says."""

import re
from dataclasses import dataclass, replace
from typing import TypeVar

from pydantic import ValidationError

from services.router.policy.request import RequestAttributes
from shared.bus.envelope import Entry
from shared.bus.ids import new_traceparent
from shared.bus.records import MAX_VALUE_LENGTH
from shared.events.base import LOCAL, REQUEST_ID, Operation, Priority, ReplyMode
from shared.events.inference import (
    MAX_BODY_BYTES,
    MAX_REPLY_NAME_LENGTH,
    MOST_TOKENS,
    InferenceRequested,
)

Kind = TypeVar("Kind", Operation, Priority, ReplyMode)

MAX_NAME_LENGTH = 128


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request as its entry describes it."""

    request_id: str
    attributes: RequestAttributes
    dataclass: str
    replyto: str
    replymode: ReplyMode
    traceparent: str
    dataref: str

    def fields(self, principal: str) -> dict[str, str]:
        """What the record keeps of it beside the router's own decisions."""
        return {
            "principal": principal,
            "tenant": LOCAL,
            "dataclass": self.dataclass,
            "replymode": self.replymode,
            "traceparent": self.traceparent,
            "inputbytes": str(self.attributes.input_bytes),
            "maxtokens": str(self.attributes.max_tokens or ""),
        }


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An entry that is no request. `request_id` is "" where not even that can be read."""

    request_id: str
    why: str
    replyto: str = ""


def principal_of(entry: Entry, shared: str) -> str:
    """Who asks: the producer whose own inbox it is, whatever the entry says."""
    return entry.stream.removeprefix(shared).removeprefix(":") or LOCAL


def read(entry: Entry) -> Incoming | Unreadable:
    """Attributes win over `data`; `data` is parsed only where attributes leave a question open."""
    try:
        request_id = entry.text("id") or entry.id
        replyto = entry.text("replyto")
    except UnicodeDecodeError:
        return Unreadable("", "its attributes are not UTF-8")
    if not re.fullmatch(REQUEST_ID, request_id):
        why = "its id may have 64 letters, digits and ._:- and must begin with a letter or digit"
        return Unreadable(entry.id, why, replyto if len(replyto) <= MAX_REPLY_NAME_LENGTH else "")
    if len(entry.data) > MAX_BODY_BYTES:
        return _too_large(request_id, replyto)
    if len(replyto) > MAX_REPLY_NAME_LENGTH:
        why = f"replyto is longer than {MAX_REPLY_NAME_LENGTH} characters"
        return Unreadable(request_id, why)
    try:
        return _incoming(entry, request_id, replyto)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "data"
        return Unreadable(request_id, f"{where}: {first['msg']}", replyto)
    except ValueError as error:
        return Unreadable(request_id, str(error), replyto)


def measured(incoming: Incoming, body_bytes: int) -> Incoming | Unreadable:
    """The same with the size of the body that it refers to, which is not in its entry."""
    if body_bytes > MAX_BODY_BYTES:
        return _too_large(incoming.request_id, incoming.replyto)
    return replace(incoming, attributes=replace(incoming.attributes, input_bytes=body_bytes))


def _too_large(request_id: str, replyto: str) -> Unreadable:
    return Unreadable(request_id, f"its body is larger than {MAX_BODY_BYTES} bytes", replyto)


def _incoming(entry: Entry, request_id: str, replyto: str) -> Incoming:
    complete = all(entry.text(name) for name in ("type", "operation", "inputbytes"))
    data = InferenceRequested(input="") if complete else _parsed(entry)
    attributes = RequestAttributes(
        model=_short(entry.text("model") or data.model or "", "model", MAX_NAME_LENGTH) or None,
        task=_short(entry.text("task") or data.task or "", "task") or None,
        operation=_either(Operation, entry.text("operation")) or data.operation,
        priority=_either(Priority, entry.text("priority")) or data.priority,
        deadline_ms=_number(entry, "deadlinems") or data.deadline_ms,
        max_tokens=_bounded(_number(entry, "maxtokens") or data.max_tokens),
        input_bytes=len(entry.data),
    )
    return Incoming(
        request_id=request_id,
        attributes=attributes,
        dataclass=_short(entry.text("dataclass") or data.dataclass or "internal", "dataclass"),
        replyto=replyto,
        replymode=_either(ReplyMode, entry.text("replymode")) or ReplyMode.FINAL,
        traceparent=_short(entry.text("traceparent"), "traceparent") or new_traceparent(),
        dataref=_short(entry.text("dataref"), "dataref", MAX_NAME_LENGTH),
    )


def _parsed(entry: Entry) -> InferenceRequested:
    if entry.text("dataref"):
        return InferenceRequested(input="")
    if not entry.data:
        raise ValueError("the entry has no field `data`; put the request there as JSON")
    return InferenceRequested.model_validate_json(entry.data)


def _either(kind: type[Kind], text: str) -> Kind | None:
    if not text:
        return None
    try:
        return kind(text)
    except ValueError:
        choices = ", ".join(kind)
        raise ValueError(f"{text!r} is not a {kind.__name__}; choose one of {choices}") from None


def _number(entry: Entry, name: str) -> int | None:
    text = entry.text(name)
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 2**53:
        raise ValueError(f"{name} is {text!r}; it must be a positive whole number")
    return int(text)


def _bounded(max_tokens: int | None) -> int | None:
    if max_tokens is not None and max_tokens > MOST_TOKENS:
        raise ValueError(f"max_tokens is {max_tokens:.3g}; it must be at most {MOST_TOKENS}")
    return max_tokens


def _short(text: str, name: str, limit: int = MAX_VALUE_LENGTH) -> str:
    if len(text.encode()) > limit:
        raise ValueError(f"{name} is longer than {limit} bytes")
    return text
