"""Which requests there are, for people: a page at a time, and never in the way of the router."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from shared.bus.envelope import Entry
from shared.bus.index import PAGE
from shared.bus.keys import Keys
from shared.bus.writer import Writer
from shared.events.base import Event, Priority
from shared.events.inference import (
    InferenceCancelled,
    InferenceFailed,
    InferenceRejected,
    InferenceStarted,
)

TEXTS = ("state", "outcome", "reason", "priority", "task", "tenant", "model", "node")
NUMBERS = ("attempt", "admitted_ms", "finished_ms")
LEADING_TO_AN_END: tuple[type[Event], ...] = (
    InferenceStarted,
    InferenceFailed,
    InferenceRejected,
    InferenceCancelled,
)
"""Whatever ended is in one of these; the completed ones would bring their answers along."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What the record of a request says in short. A text that it lacks is "", a number 0."""

    request_id: str
    state: str
    outcome: str
    reason: str
    priority: str
    task: str
    tenant: str
    model: str
    node: str
    attempt: int
    admitted_ms: int
    finished_ms: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many of a class wait, and when the first of them was admitted, in store milliseconds."""

    count: int
    oldest_ms: int | None


async def waiting(writer: Writer, keys: Keys) -> dict[Priority, Waiting]:
    """By class; it costs the same however many wait."""
    names = [keys.waiting(priority) for priority in Priority]
    counts = await asyncio.gather(*(writer.send("ZCARD", name) for name in names))
    firsts = await asyncio.gather(
        *(writer.send("ZRANGE", name, 0, 0, "WITHSCORES") for name in names)
    )
    return {
        priority: Waiting(int(count), int(float(first[1])) if first else None)
        for priority, count, first in zip(Priority, counts, firsts, strict=True)
    }


async def page(writer: Writer, keys: Keys, index: str, first: int, last: int) -> list[Listed]:
    """The requests of an index between two ranks, which may count from its end."""
    ids = await writer.send("ZRANGE", index, first, last)
    return await records(writer, keys, [each.decode() for each in ids])


async def backwards(writer: Writer, keys: Keys, index: str) -> AsyncIterator[list[Listed]]:
    """An index in pages, from its end: what leaves it meanwhile moves only what was read."""
    left = int(await writer.send("ZCARD", index))
    while left > 0:
        yield await page(writer, keys, index, max(0, left - PAGE), left - 1)
        left -= PAGE


async def records(writer: Writer, keys: Keys, ids: Sequence[str]) -> list[Listed]:
    """Those of them that have a record."""
    found = await asyncio.gather(
        *(writer.send("HMGET", keys.request(each), *TEXTS, *NUMBERS) for each in ids)
    )
    return [_listed(each, values) for each, values in zip(ids, found, strict=True) if values[0]]


async def ended(writer: Writer, keys: Keys, count: int) -> list[Listed]:
    """Up to so many that began last or ended without having begun, the last to end first."""
    replies = await asyncio.gather(
        *(
            writer.send("XREVRANGE", keys.stream(event), "+", "-", "COUNT", count)
            for event in LEADING_TO_AN_END
        )
    )
    ids = {entry.text("subject") for reply in replies for entry in _entries(reply)}
    found = await records(writer, keys, sorted(ids - {""}))
    return sorted(
        (each for each in found if each.state == "final"),
        key=lambda each: each.finished_ms,
        reverse=True,
    )


async def begun_per_s(writer: Writer, keys: Keys, now_ms: int) -> dict[Priority, float]:
    """How many of each class began lately, a second: of the last page, in the last minute."""
    since_ms = now_ms - 60_000
    reply = await writer.send(
        "XREVRANGE", keys.stream(InferenceStarted), "+", since_ms, "COUNT", PAGE
    )
    entries = list(_entries(reply))
    full = len(entries) == PAGE
    over_s = max(1.0, (now_ms - (entries[-1].milliseconds if full else since_ms)) / 1000)
    classes = [entry.text("priority") for entry in entries]
    return {priority: classes.count(priority) / over_s for priority in Priority}


def _entries(reply: list[tuple[bytes, list[bytes]]]) -> list[Entry]:
    """What a plain XREVRANGE answers: names and values follow each other."""
    return [
        Entry("", entry_id.decode(), dict(list(pairwise(words))[::2])) for entry_id, words in reply
    ]


def _listed(request_id: str, values: Sequence[bytes | None]) -> Listed:
    texts = [(value or b"").decode() for value in values]
    state, outcome, reason, priority, task, tenant, model, node = texts[: len(TEXTS)]
    return Listed(
        *(request_id, state, outcome, reason, priority, task, tenant, model, node),
        *(int(text or 0) for text in texts[len(TEXTS) :]),
    )
