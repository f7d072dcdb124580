"""One group's consumption of several streams whose effects are in another store, batch by batch.

Effects come first and acknowledgements after, so what is delivered again must have none: the other
store knows each event by its id.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from redis.asyncio import Redis

from shared.bus.connection import BLOCK_MS, GroupReader, patiently
from shared.bus.envelope import Entry
from shared.bus.group_read import BATCH
from shared.bus.holding import Holding
from shared.bus.writer import Writer
from shared.log import get_logger
from shared.telemetry import HANDLED, HANDLER_FAILURES

log = get_logger()

LINGER_S = 0.05
"""What arrives meanwhile comes with the next read: at most twenty reads a second."""

AWAY_S, AWAY_CAP_S = 0.1, 2.0

Effects = Callable[[Sequence[Entry]], Awaitable[Mapping[Entry, str]]]
"""Does all that these entries cause, or raises and does nothing.

Returns the entries that can never have an effect, with the reason. Raises `AwayError` where their
effects must wait.
"""


class AwayError(Exception):
    """The other store cannot be reached. That is the fault of no entry."""


class Batches:
    """Reads, hands over, acknowledges. While the other store is away, nothing more is read."""

    def __init__(
        self, writer: Writer, reader: GroupReader, holdings: Sequence[Holding], effects: Effects
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._holdings = {holding.stream: holding for holding in holdings}
        self._group, self._consumer = holdings[0].group, holdings[0].consumer
        self._effects = effects
        self._again: list[Entry] = []
        """To be handled with the next batch: taken over, or failed before."""
        self._away = False

    @property
    def streams(self) -> tuple[str, ...]:
        return tuple(self._holdings)

    @property
    def failing(self) -> Mapping[str, str]:
        """Streams that cannot be read, and why."""
        return self._reader.failing

    async def run(self) -> None:
        while True:
            entries = await self._read()
            await self._settle(entries + self._take_again())
            if len(entries) < BATCH:
                await asyncio.sleep(LINGER_S)

    async def tend(self, client: Redis, idle_ms: int) -> None:
        """Beat for what is held, and take over what others let fall.

        Not while the other store is away: each takeover counts as a delivery.
        """
        for holding in self._holdings.values():
            await holding.beat(client)
            if not self._away:
                self._again += await holding.take_over(client, idle_ms)

    async def close(self) -> None:
        await self._reader.aclose()

    async def _read(self) -> list[Entry]:
        reply = await self._reader.xreadgroup(
            self._group,
            self._consumer,
            streams=dict.fromkeys(self._holdings, ">"),
            count=BATCH,
            block=None if self._again else BLOCK_MS,
        )
        return [
            Entry(stream.decode(), entry_id.decode(), fields)
            for stream, rows in reply
            for entry_id, fields in rows
        ]

    def _take_again(self) -> list[Entry]:
        taken, self._again = self._again, []
        return taken

    async def _settle(self, entries: Sequence[Entry]) -> None:
        """Together; where that fails, one by one, so that no entry holds up the others."""
        fresh = [
            entry
            for stream, holding in self._holdings.items()
            for entry in holding.hold(each for each in entries if each.stream == stream)
        ]
        try:
            await self._handle(fresh)
        except Exception:
            log.exception("batch_failed", entries=len(fresh))
            for entry in fresh:
                await self._alone(entry)
        finally:
            for entry in fresh:
                self._holdings[entry.stream].let_go(entry)

    async def _alone(self, entry: Entry) -> None:
        try:
            await self._handle([entry])
        except Exception as error:
            log.exception("handler_failed", stream=entry.stream, entry=entry.id)
            HANDLER_FAILURES.labels(entry.stream).inc()
            reason = f"{type(error).__name__}: {error}"
            pause_s = await self._holdings[entry.stream].fail(entry, reason)
            if pause_s is not None:
                asyncio.get_running_loop().call_later(pause_s, self._again.append, entry)

    async def _handle(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        refused = await self._in_time(entries)
        for entry, reason in refused.items():
            await self._holdings[entry.stream].fail(entry, f"invalid: {reason}", limit=0)
        done = [entry for entry in entries if entry not in refused]
        await patiently(lambda: self._acknowledge(done), "acknowledge")

    async def _in_time(self, entries: Sequence[Entry]) -> Mapping[Entry, str]:
        """However long the other store is away."""
        pause_s = AWAY_S
        while True:
            try:
                refused = await self._effects(entries)
            except AwayError as error:
                self._away = True
                log.warning("effects_wait", error=str(error), entries=len(entries))
                await asyncio.sleep(pause_s)
                pause_s = min(AWAY_CAP_S, pause_s * 2)
            else:
                self._away = False
                return refused

    async def _acknowledge(self, entries: Sequence[Entry]) -> None:
        by_stream: dict[str, list[str]] = {}
        for entry in entries:
            by_stream.setdefault(entry.stream, []).append(entry.id)
        await asyncio.gather(
            *(
                self._writer.send("XACK", stream, self._group, *ids)
                for stream, ids in by_stream.items()
            )
        )
        for stream, ids in by_stream.items():
            HANDLED.labels(stream).inc(len(ids))
