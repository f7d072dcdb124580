"""One group's consumption of one stream: handled, retried with backoff, or dead-lettered."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Generic

import structlog
from redis.asyncio import Redis

from shared.bus.connection import ensure_group, patiently
from shared.bus.envelope import E, Entry, Message, attributes, decode, envelope
from shared.bus.ids import derived_id
from shared.bus.keys import Keys
from shared.bus.scripts import script
from shared.bus.writer import Writer
from shared.events.base import Event
from shared.events.operations import DeadLetter
from shared.telemetry import DEAD_LETTERS, HANDLED, HANDLER_FAILURES

log = structlog.get_logger()

ATTEMPTS = 5
RECLAIM = 100
BACKOFF_S, BACKOFF_CAP_S = 0.5, 10.0


class InvalidEntryError(Exception):
    """An entry's data is not its event; handling it again would not help."""


class Published(tuple[Event, str | None, str]):
    """An event among a handler's results that needs a node's stream or an ordinal."""

    def __new__(cls, event: Event, node: str | None = None, ordinal: str = "") -> "Published":
        return super().__new__(cls, (event, node, ordinal))


Results = Sequence[Event | Published]
Handler = Callable[[Message[E]], Awaitable[Results | None]]


class Consumption(Generic[E]):
    """Runs a handler over a stream's entries and settles each by one atomic script."""

    def __init__(
        self,
        writer: Writer,
        keys: Keys,
        stream: str,
        group: str,
        consumer: str,
        event_class: type[E],
        handler: Handler[E],
    ) -> None:
        self.stream = stream
        self.group = group
        self._writer = writer
        self._keys = keys
        self._consumer = consumer
        self._event_class = event_class
        self._handler = handler
        self._held: dict[str, Entry] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def on_batch(self, entries: list[Entry]) -> None:
        """Handle entries in their order and settle them together, in one round trip."""
        fresh = [entry for entry in entries if entry.id not in self._held]
        self._held |= {entry.id: entry for entry in fresh}
        outcomes = [(entry, await self._handle(entry)) for entry in fresh]
        await asyncio.gather(*[self._settle(entry, outcome) for entry, outcome in outcomes])

    async def beat(self, client: Redis) -> None:
        """Keep what is still being handled from being reclaimed by somebody else."""
        if self._held:
            await client.xclaim(
                *(self.stream, self.group, self._consumer),
                min_idle_time=0,
                message_ids=list(self._held),
                justid=True,
            )

    async def reclaim(self, client: Redis, idle_ms: int) -> None:
        """Take over what a dead consumer, or a cut read, left pending; handle it beside."""
        await ensure_group(client, self.stream, self.group)
        reply: Any = await client.xautoclaim(
            self.stream, self.group, self._consumer, idle_ms, count=RECLAIM
        )
        taken_over = []
        for entry_id, fields in reply[1]:
            if not fields or entry_id.decode() in self._held:
                continue
            entry = Entry(self.stream, entry_id.decode(), fields)
            if await self._deliveries(client, entry) > ATTEMPTS:
                await self._fail(entry, "its consumers died while they handled it", limit=0)
            else:
                taken_over.append(entry)
        self._beside(self.on_batch(taken_over))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _deliveries(self, client: Redis, entry: Entry) -> int:
        rows: Any = await client.xpending_range(
            self.stream, self.group, entry.id, entry.id, count=1
        )
        return int(rows[0]["times_delivered"]) if rows else 0

    async def _handle(self, entry: Entry) -> Results | Exception:
        try:
            message = decode(self._event_class, entry)
        except ValueError as error:
            return InvalidEntryError(type(error).__name__)
        try:
            return await self._handler(message) or ()
        except Exception as error:
            log.exception("handler_failed", stream=self.stream, entry=entry.id)
            return error

    async def _settle(self, entry: Entry, outcome: Results | Exception) -> None:
        tried_again = False
        try:
            match outcome:
                case InvalidEntryError():
                    await self._fail(entry, f"invalid: {outcome}", limit=0)
                case Exception():
                    HANDLER_FAILURES.labels(self.stream).inc()
                    reason = f"{type(outcome).__name__}: {outcome}"
                    tried_again = await self._fail(entry, reason[:500], ATTEMPTS)
                case results:
                    HANDLED.labels(self.stream).inc()
                    await self._acknowledge(entry, results)
        finally:
            if not tried_again:
                self._held.pop(entry.id, None)

    async def _acknowledge(self, entry: Entry, results: Results) -> None:
        targets, rest = [], []
        for result in results:
            event, node, ordinal = result if isinstance(result, Published) else (result, None, "")
            fields = envelope(event, self.group, ordinal=ordinal, cause=entry)
            targets.append(self._keys.stream(type(event), node))
            rest += [len(fields), *fields]
        await patiently(
            lambda: self._writer.run(
                script("acknowledge"),
                keys={"source": self.stream},
                args={"group": self.group, "consumer": self._consumer, "entry": entry.id},
                rest=rest,
                more_keys=targets,
            ),
            "settle",
        )

    async def _fail(self, entry: Entry, reason: str, limit: int) -> bool:
        """Count a failure; True where the entry will be tried again here."""
        letter_id = derived_id(DeadLetter.type, f"{self.stream}:{entry.id}", self.group)
        reply = await patiently(
            lambda: self._writer.run(
                script("fail"),
                keys={
                    "source": self.stream,
                    "dead_letter": self._keys.stream(DeadLetter),
                },
                args={
                    "group": self.group,
                    "consumer": self._consumer,
                    "entry": entry.id,
                    "limit": limit,
                    "reason": reason,
                },
                events={
                    "event": attributes(DeadLetter.type, letter_id, self.group, entry.id),
                },
            ),
            "fail",
        )
        return self._after_failure(entry, reply)

    def _after_failure(self, entry: Entry, reply: list[Any]) -> bool:
        if reply[0] == b"dead":
            DEAD_LETTERS.labels(self.stream).inc()
            log.error("dead_letter", stream=self.stream, entry=entry.id)
        if reply[0] != b"retry":
            return False
        pause_s = min(BACKOFF_CAP_S, BACKOFF_S * 2 ** (int(reply[1]) - 1))
        self._beside(self._again(entry, pause_s * random.uniform(0.8, 1.2)))  # noqa: S311
        return True

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _again(self, entry: Entry, pause_s: float) -> None:
        await asyncio.sleep(pause_s)
        await self._settle(entry, await self._handle(entry))
