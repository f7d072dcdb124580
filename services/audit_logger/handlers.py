"""Events become rows, questions become answers."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import structlog
from psycopg.rows import DictRow
from pydantic_core import to_json

from services.audit_logger.database import OF_THE_DATA, Database
from services.audit_logger.metrics import RECORDED, SPILLED
from services.audit_logger.rows import Story, told
from services.audit_logger.spill import Spill, held, pages
from shared.bus.batches import AwayError
from shared.bus.bus import Bus
from shared.bus.envelope import Entry, Message, decode
from shared.bus.questions import reply
from shared.bus.unsettled import TOO_MUCH, unsettled_share
from shared.events.audit import AuditAnswered, AuditQueryRequested
from shared.events.base import Event
from shared.events.inference import STORIES

log = structlog.get_logger()

LOOK_S = 1.0
PRUNE_S = 3600.0


class Trail:
    def __init__(self, bus: Bus, database: Database, spill: Spill) -> None:
        self._bus = bus
        self._database = database
        self._spill = spill
        self._spilling = asyncio.Lock()
        self._classes = {bus.keys.stream(event): event for event in STORIES}

    def checks(self) -> dict[str, str]:
        return {"database": self._database.lack}

    async def record(self, entries: Sequence[Entry]) -> Mapping[Entry, str]:
        """Write what a batch tells; the entries that nobody could write, and why.

        Raises what the database says of its data: each entry is then to be tried alone.
        """
        rows, refused = [], {}
        for entry in entries:
            try:
                rows.append(to_json(self._told(entry)))
            except ValueError as error:
                refused[entry] = type(error).__name__
        try:
            if rows:
                await self._keep(rows)
        except OF_THE_DATA as error:
            if len(entries) > 1:
                raise
            return {entries[0]: str(error).splitlines()[0]}
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
                await self._replay()
                if monotonic() - pruned_s >= PRUNE_S:
                    pruned_s = monotonic()
                    await self._database.prune()
            except AwayError:
                log.debug("still_away")
            await asyncio.sleep(LOOK_S)

    async def _keep(self, rows: Sequence[bytes]) -> None:
        """In the database; on disk while that is away and the streams hold too much of the store.

        Raises `AwayError` where they shall wait in the streams.
        """
        try:
            self._database.must_be_there()
            await self._database.record(rows)
        except AwayError:
            if not await self._may_spill():
                raise
            await self._spill_rows(rows)
        else:
            RECORDED.inc(len(rows))

    async def _may_spill(self) -> bool:
        if self._bus.config.audit.mode != "best_effort":
            return False
        return await unsettled_share(self._bus.client, self._bus.name, self._classes) >= TOO_MUCH

    async def _spill_rows(self, rows: Sequence[bytes]) -> None:
        try:
            async with self._spilling:
                await asyncio.to_thread(self._spill.write, rows)
        except OSError as error:
            raise AwayError(f"and nothing can be spilled: {error}") from error
        SPILLED.inc(len(rows))
        log.warning("spilled", rows=len(rows))

    async def _replay(self) -> None:
        """What was spilled goes the way it would have gone; what is there already stays."""
        async with self._spilling:
            self._spill.close()
        for file in self._spill.files():
            with held(file) as alone:
                if not alone:
                    continue
                for page in pages(file):
                    await self._replay_page(page)
                file.unlink()
                log.info("replayed", file=file.name)

    async def _replay_page(self, page: Sequence[bytes]) -> None:
        try:
            await self._database.record(page)
        except OF_THE_DATA as error:
            if len(page) > 1:
                for row in page:
                    await self._replay_page([row])
                return
            log.error("row_refused", error=str(error))  # noqa: TRY400 - of data, not of code
            self._spill.refuse(page[0])

    def _told(self, entry: Entry) -> Any:
        message = decode(self._classes[entry.stream], entry)
        attributes = {
            name.decode(): value.decode() for name, value in entry.fields.items() if name != b"data"
        }
        return told(message.id, message.event, Story(attributes, entry.milliseconds))

    async def _found(self, query: AuditQueryRequested) -> dict[str, Any]:
        self._database.must_be_there()
        terms: dict[str, Any] = {"before": query.before, "limit": query.limit + 1}
        if query.request_id is not None:
            rows = await self._database.request(terms | {"request_id": query.request_id})
            page = rows[: query.limit]
            attempts = await self._database.attempts(page) if page else []
            return {**_page(rows, query.limit), "attempts": _document(attempts)}
        since = query.since_ms
        terms |= query.model_dump(include={"task", "model", "node", "principal", "outcome"})
        terms |= {"since": None if since is None else datetime.fromtimestamp(since / 1000, UTC)}
        return _page(await self._database.search(terms), query.limit)


def _page(rows: Sequence[DictRow], limit: int) -> dict[str, Any]:
    """As many as were asked for and, where there are more, where the next page begins."""
    page = rows[:limit]
    further = {"next": page[-1]["seq"]} if len(rows) > limit else {}
    return {"requests": _document(page), **further}


def _document(rows: Sequence[DictRow]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if value is not None} for row in rows]
