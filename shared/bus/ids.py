"""Ids of events and of entries. Derived ones name a fact, so that doing it twice says it once."""

import os
import time
from hashlib import sha1
from itertools import count
from uuid import UUID, uuid4

NAMESPACE = UUID("6f0f9a52-6c1b-4d2a-9a3e-0d1c5b7e2f41")
_NAMESPACE_BYTES = NAMESPACE.bytes
_counter = count(int.from_bytes(os.urandom(3), "big"))
_process = os.urandom(6).hex()


def random_id() -> str:
    return str(uuid4())


def request_id() -> str:
    """A new id that sorts by time: 12 hex digits of milliseconds, then process and counter."""
    return f"{time.time_ns() // 1_000_000:012x}{_process}{next(_counter) & 0xFFFFFFFF:08x}"


def derived_id(event_type: str, subject: str, ordinal: str = "") -> str:
    """The same for the same fact, whoever says it and however often."""
    return _named(f"{event_type}\x1f{subject}\x1f{ordinal}")


def final_id(request_id: str, inbox_entry: str = "") -> str:
    """The id of a request's one final event, whichever its type.

    `inbox_entry` was admitted: it tells the uses of a request id apart, and is the same where a
    store that crashed admits it once more. A refused conflict has an id of its own, and none.
    """
    return _named(f"{request_id}\x1ffinal@{inbox_entry}")


def attempt_id(
    event_type: str, request_id: str, inbox_entry: str, attempt: int, reason: str = ""
) -> str:
    """The id of an event about an attempt; those that it may have several of also say why."""
    which = f"{attempt}:{reason}" if reason else f"{attempt}"
    return derived_id(event_type, request_id, f"{which}@{inbox_entry}")


def idempotent_request_id(principal: str, key: str) -> str:
    """The request id that an `Idempotency-Key` of this principal stands for."""
    return _named(f"idempotency\x1f{principal}\x1f{key}").replace("-", "")


def new_traceparent() -> str:
    """A W3C trace context with a new trace and span, sampled."""
    return f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-01"


def order(entry_id: str) -> tuple[int, int]:
    """Sort key of a stream entry's id."""
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)


def _named(name: str) -> str:
    """A UUID of version 5 (RFC 9562), four times as fast as uuid5: each request has a dozen."""
    digest = sha1(_NAMESPACE_BYTES + name.encode(), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digest[16], 16) & 3]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"
