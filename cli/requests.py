"""Finding requests, and ending them."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic

from cli.errors import UserError
from cli.store import Connection
from shared.bus import listing
from shared.bus.index import PAGE
from shared.bus.listing import Listed
from shared.events.base import Priority

SEARCHED = 5000
"""Of each kind, the newest so many are looked at; who asks for more narrows it down."""

ENDED_WITHIN_S = 10.0
LOOK_EVERY_S = 0.1


class Stage(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    FINAL = "final"


@dataclass(frozen=True)
class Wanted:
    """What a request has to be; None: anything."""

    stage: Stage | None = None
    priority: Priority | None = None
    task: str | None = None
    model: str | None = None

    def meets(self, listed: Listed) -> bool:
        asked = (("priority", self.priority), ("task", self.task), ("model", self.model))
        return all(value in (None, getattr(listed, name)) for name, value in asked)


async def find(connection: Connection, wanted: Wanted, limit: int) -> list[Listed]:
    """The newest of them, what runs first, then what waits, then what ended."""
    found: list[Listed] = []
    if wanted.stage in (None, Stage.RUNNING, Stage.WAITING):
        stages = (wanted.stage,) if wanted.stage else (Stage.RUNNING, Stage.WAITING)
        for stage in stages:
            found += await _newest(connection, stage, wanted, limit - len(found))
    if wanted.stage in (None, Stage.FINAL) and len(found) < limit:
        ended = await listing.ended(connection.writer, connection.keys, SEARCHED // 5)
        found += [each for each in ended if wanted.meets(each)]
    return found[:limit]


async def pages(
    connection: Connection, stage: Stage, wanted: Wanted
) -> AsyncIterator[list[Listed]]:
    """All that wait or run, the newest of a class first."""
    writer, keys = connection.writer, connection.keys
    classes = [wanted.priority] if wanted.priority else list(Priority)
    indexes = [keys.flight] if stage is Stage.RUNNING else [keys.waiting(one) for one in classes]
    for index in indexes:
        async for page in listing.backwards(writer, keys, index):
            yield [each for each in reversed(page) if wanted.meets(each)]


async def cancel(connection: Connection, ids: Iterable[str], reason: str) -> dict[str, str]:
    """Ask for their ends and wait for them: what became of each, by id.

    `cancelled`, how it had ended before, `unknown`, or `asked` where nothing has happened yet.
    """
    left = {*ids}
    known = {each.request_id: each for each in await _records(connection, left)}
    became = {each: "unknown" for each in left - known.keys()}
    for each in known.values():
        if each.state == "final":
            became[each.request_id] = f"{each.outcome} before"
    left -= became.keys()
    requester = connection.requester()
    await asyncio.gather(*(requester.cancel(each, reason) for each in left))
    deadline_s = monotonic() + ENDED_WITHIN_S
    while left and monotonic() < deadline_s:
        for each in await _records(connection, left):
            if each.state == "final":
                became[each.request_id] = each.outcome
        left -= became.keys()
        await asyncio.sleep(LOOK_EVERY_S)
    return became | dict.fromkeys(left, "asked")


async def check_router(connection: Connection) -> None:
    if not await connection.leads("router"):
        raise UserError("No router runs, so nobody ends requests.", "See ./roundhouse status")


async def _newest(connection: Connection, stage: Stage, wanted: Wanted, limit: int) -> list[Listed]:
    found: list[Listed] = []
    looked = 0
    async for page in pages(connection, stage, wanted):
        found += page
        looked += PAGE
        if looked >= SEARCHED:
            break
    return sorted(found, key=lambda each: each.admitted_ms, reverse=True)[: max(0, limit)]


async def _records(connection: Connection, ids: Iterable[str]) -> list[Listed]:
    return await listing.records(connection.writer, connection.keys, sorted(ids))
