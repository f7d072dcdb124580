"""One group's consumption of one stream: handled, retried with backoff, or dead-lettered."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Generic

from redis.asyncio import Redis

from shared.bus.connection import patiently
from shared.bus.envelope import E, Entry, Message, decode, envelope
from shared.bus.holding import Holding
from shared.bus.keys import Keys
from shared.bus.scripts import script
from shared.bus.writer import Writer
from shared.events.base import Event
from shared.log import get_logger
from shared.telemetry import HANDLED, HANDLER_FAILURES

log = get_logger()


class InvalidEntryError(Exception):
    """An entry's data is not its event; handling it again would not help."""


class Published(tuple[Event, str | None, str]):
    """A handler's result that needs an ordinal, or the stream of a node or endpoint."""

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
        holding: Holding,
        event_class: type[E],
        handler: Handler[E],
    ) -> None:
        self.stream = holding.stream
        self.streams = (holding.stream,)
        self.failing: Mapping[str, str] = {}  # FastStream's reader says that
        self._writer = writer
        self._keys = keys
        self._holding = holding
        self._event_class = event_class
        self._handler = handler
        self._tasks: set[asyncio.Task[None]] = set()

    async def on_batch(self, entries: list[Entry]) -> None:
        """Handle entries in their order and settle them together, in one round trip."""
        outcomes = [(entry, await self._handle(entry)) for entry in self._holding.hold(entries)]
        await asyncio.gather(*[self._settle(entry, outcome) for entry, outcome in outcomes])

    async def tend(self, client: Redis, idle_ms: int) -> None:
        """Beat for what is held, and handle beside it what others let fall."""
        await self._holding.beat(client)
        self._beside(self.on_batch(await self._holding.take_over(client, idle_ms)))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

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
        pause_s = None
        try:
            match outcome:
                case InvalidEntryError():
                    await self._holding.fail(entry, f"invalid: {outcome}", limit=0)
                case Exception():
                    HANDLER_FAILURES.labels(self.stream).inc()
                    pause_s = await self._holding.fail(
                        entry, f"{type(outcome).__name__}: {outcome}"
                    )
                case results:
                    HANDLED.labels(self.stream).inc()
                    await self._acknowledge(entry, results)
        finally:
            if pause_s is None:
                self._holding.let_go(entry)
        if pause_s is not None:
            self._beside(self._again(entry, pause_s))

    async def _acknowledge(self, entry: Entry, results: Results) -> None:
        holding = self._holding
        targets, rest = [], []
        for result in results:
            event, node, ordinal = result if isinstance(result, Published) else (result, None, "")
            fields = envelope(event, holding.group, ordinal=ordinal, cause=entry)
            targets.append(self._keys.stream(type(event), node))
            rest += [len(fields), *fields]
        await patiently(
            lambda: self._writer.run(
                script("acknowledge"),
                keys={"source": self.stream},
                args={"group": holding.group, "consumer": holding.consumer, "entry": entry.id},
                rest=rest,
                more_keys=targets,
            ),
            "settle",
        )

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _again(self, entry: Entry, pause_s: float) -> None:
        await asyncio.sleep(pause_s)
        await self._settle(entry, await self._handle(entry))
