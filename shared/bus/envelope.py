"""CloudEvents in binary mode: attributes are flat fields of the entry, the body is `data`."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Generic, TypeVar

from shared.bus.ids import derived_id, random_id
from shared.events.base import Event

E = TypeVar("E", bound=Event)

SPEC_VERSION = "1.0"

REQUEST_ATTRIBUTES = (
    "task",
    "priority",
    "principal",
    "tenant",
    "dataclass",
    "model",
    "operation",
    "deadlinems",
    "maxtokens",
    "inputbytes",
    "replyto",
    "replymode",
)
"""Extension attributes of a request; they follow it through every event about it."""


class Entry:
    """One stream entry as it was read: its id and raw fields. Nothing is decoded before asked."""

    __slots__ = ("fields", "id", "stream")

    def __init__(self, stream: str, entry_id: str, fields: Mapping[bytes, bytes]) -> None:
        self.stream = stream
        self.id = entry_id
        self.fields = fields

    def text(self, name: str) -> str:
        """An attribute, "" where it is absent. Raises `UnicodeDecodeError` on garbage."""
        return self.fields.get(name.encode(), b"").decode()

    @property
    def data(self) -> bytes:
        return self.fields.get(b"data", b"")

    @property
    def milliseconds(self) -> int:
        """When Redis took the entry, in milliseconds since 1970."""
        return int(self.id.partition("-")[0])


@dataclass(frozen=True, slots=True)
class Message(Generic[E]):
    """A decoded event together with the entry that carried it."""

    event: E
    entry: Entry

    @property
    def id(self) -> str:
        return self.entry.text("id") or self.entry.id

    @property
    def traceparent(self) -> str:
        return self.entry.text("traceparent")


def decode(event_class: type[E], entry: Entry) -> Message[E]:
    """Parse an entry. Raises `ValueError` on data that is not this event."""
    return Message(event_class.model_validate_json(entry.data), entry)


def utc_now() -> str:
    return _utc(time.time_ns() // 1_000_000)


@lru_cache(maxsize=1)
def _utc(now_ms: int) -> str:
    """Events of one millisecond have one time: it is written once for all of them."""
    moment = datetime.fromtimestamp(now_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def envelope(
    event: Event,
    source: str,
    *,
    event_id: str | None = None,
    ordinal: str = "",
    cause: Entry | None = None,
) -> list[str | bytes]:
    """The fields of an entry for `event`, as a flat list of names and values.

    The id is derived from type, subject and ordinal; samples get a random one.
    """
    if event_id is None:
        event_id = random_id() if event.sampled else derived_id(event.type, event.subject, ordinal)
    fields = attributes(event.type, event_id, source, event.subject)
    if cause is not None:
        fields += _inherited(cause)
    fields += ["data", event.model_dump_json(exclude_none=True)]
    return fields


def attributes(event_type: str, event_id: str, source: str, subject: str) -> list[str | bytes]:
    """The attributes that every entry has."""
    return [
        *("specversion", SPEC_VERSION),
        *("id", event_id),
        *("type", event_type),
        *("source", source),
        *("time", utc_now()),
        *("subject", subject),
    ]


def _inherited(cause: Entry) -> Iterator[str]:
    cause_id = cause.text("id") or cause.id
    yield from ("correlationid", cause.text("correlationid") or cause_id)
    yield from ("causationid", cause_id)
    if traceparent := cause.text("traceparent"):
        yield from ("traceparent", traceparent)
