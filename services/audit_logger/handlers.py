"""Events become rows, questions become answers."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import structlog
from psycopg.rows import DictRow
from pydantic_core import to_json

from services.audit_logger.database import Database
from services.audit_logger.rows import Story, told
from shared.bus.batches import AwayError
from shared.bus.bus import Bus
from shared.bus.envelope import Entry, Message, decode
from shared.bus.questions import reply
from shared.events.audit import AuditAnswered, AuditQueryRequested
from shared.events.base import Event

log = structlog.get_logger()

LOOK_S = 1.0
PRUNE_S = 3600.0


class Trail:
    def __init__(self, bus: Bus, database: Database, recorded: Sequence[type[Event]]) -> None:
        self._bus = bus
        self._database = database
        self._classes = {bus.keys.stream(event): event for event in recorded}

    def checks(self) -> dict[str, str]:
        return {"database": self._database.lack}

    async def record(self, entries: Sequence[Entry]) -> Mapping[Entry, str]:
        """Write what a batch tells; the entries that are not their events, and why."""
        rows, refused = [], {}
        for entry in entries:
            try:
                rows.append(to_json(self._told(entry)))
            except ValueError as error:
                refused[entry] = type(error).__name__
        if rows:
            await self._database.record(rows)
        return refused

    async def answer(self, message: Message[AuditQueryRequested]) -> Sequence[Event]:
        """Answer a question, at once also where the database is away."""
        query = message.event
        try:
            found = await self._found(query)
        except AwayError as error:
            failure = {"message": f"the audit trail's database cannot be asked: {error}"}
            await reply(self._bus, message.entry, "unavailable", failure)
            return ()
        await reply(self._bus, message.entry, "answered", found)
        requests = len(found["requests"])
        return [AuditAnswered(query=message.id, asked_by=query.asked_by, found=requests)]

    async def watch(self) -> None:
        """Notice when the database goes and comes, also while nothing is to be written."""
        pruned_s = monotonic() - PRUNE_S
        while True:
            try:
                await self._database.look()
                if monotonic() - pruned_s >= PRUNE_S:
                    await self._database.prune()
                    pruned_s = monotonic()
            except AwayError:
                log.debug("still_away")
            await asyncio.sleep(LOOK_S)

    def _told(self, entry: Entry) -> Any:
        message = decode(self._classes[entry.stream], entry)
        attributes = {
            name.decode(): value.decode() for name, value in entry.fields.items() if name != b"data"
        }
        return told(message.id, message.event, Story(attributes, entry.milliseconds))

    async def _found(self, query: AuditQueryRequested) -> dict[str, Any]:
        if self._database.away:
            raise AwayError(self._database.away)
        if query.request_id is not None:
            found = await self._database.request(query.request_id)
            requests, attempts = ([found[0]], found[1]) if found else ([], [])
            return {"requests": _document(requests), "attempts": _document(attempts)}
        since = query.since_ms
        terms = query.model_dump(include={"task", "model", "node", "principal", "outcome"})
        terms |= {"before": query.before, "limit": query.limit + 1}
        terms |= {"since": None if since is None else datetime.fromtimestamp(since / 1000, UTC)}
        rows = await self._database.search(terms)
        page = rows[: query.limit]
        further = {"next": page[-1]["seq"]} if len(rows) > query.limit else {}
        return {"requests": _document(page), **further}


def _document(rows: Sequence[DictRow]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if value is not None} for row in rows]
