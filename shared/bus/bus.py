"""What a service holds of the bus: it consumes, publishes, follows and leads through this."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from redis.exceptions import RedisError, ResponseError

from shared.bus.batches import Batches, Effects
from shared.bus.configuration import ConfigurationWatch
from shared.bus.connection import UNAVAILABLE, GroupReader, ensure_group, make_client, patiently
from shared.bus.consumption import Consumption, Handler
from shared.bus.dead_letters import bury
from shared.bus.envelope import E, Entry, Message, envelope
from shared.bus.group_read import BatchHandler, GroupRead, pending
from shared.bus.holding import Holding
from shared.bus.keys import Keys
from shared.bus.lease import Lease
from shared.bus.scripts import script
from shared.bus.subscriber import failing, make_broker, reader, subscribe
from shared.bus.tail import EntryHandler, decoded, tail
from shared.bus.writer import Writer
from shared.config import Config
from shared.events.base import Event
from shared.log import get_logger, told
from shared.settings import ServiceSettings
from shared.telemetry import ROUND_TRIP_SECONDS, STORE_UP

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = get_logger()

PING_S = 1.0
STORE_SILENT_S = 5.0
FAILING_S = 5.0

Background = Callable[[], Coroutine[Any, Any, None]]
Follower = Callable[[Message[Any]], Awaitable[None]]


class UndeclaredError(Exception):
    """A service used an event that its contract does not name."""


class Bus:
    """One service's connection. Consumed and published events are declared, and checked."""

    def __init__(
        self,
        name: str,
        settings: ServiceSettings,
        *,
        consumes: Sequence[type[Event]] = (),
        publishes: Sequence[type[Event]] = (),
    ) -> None:
        self.name = name
        self.instance = settings.instance
        self.keys = Keys(settings.key_prefix)
        self.client: Redis = make_client(settings.redis_url)
        self.writer = Writer(self.client)
        self._url = settings.redis_url
        self._broker = make_broker(settings.redis_url)
        self._consumes = frozenset(consumes)
        self._publishes = frozenset(publishes)
        self._consumptions: list[Consumption[Any] | Batches] = []
        self._subscribers: list[Any] = []
        self._group_reads: WeakSet[GroupRead] = WeakSet()
        self._background: list[Background] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._heard_at = 0.0
        self._failures: deque[tuple[float, str]] = deque(maxlen=2)
        self.configuration = ConfigurationWatch(self.client, self.keys)
        self._background += [self.configuration.run, self._ping, self._tend]

    @property
    def config(self) -> Config:
        """The configuration in force, never older than a second or two."""
        return self.configuration.config

    # --- declaring, before `start` -------------------------------------------------------------

    def on(self, event_class: type[E], handler: Handler[E], *, node: str | None = None) -> None:
        """Consume a stream as this service's group; what the handler returns is published."""
        self._must_consume(event_class)
        holding = self._holding(event_class, node)
        consumption = Consumption(self.writer, self.keys, holding, event_class, handler)
        self._consumptions.append(consumption)
        self._subscribers.append(
            subscribe(
                self._broker, consumption.stream, self.name, self.instance, consumption.on_batch
            )
        )

    def on_batches(self, event_classes: Sequence[type[Event]], effects: Effects) -> None:
        """Consume streams as this service's group, their entries together in raw batches.

        Settled only once their effects in another store are certain.
        """
        for event_class in event_classes:
            self._must_consume(event_class)
        holdings = [self._holding(event_class) for event_class in event_classes]
        reader = make_client(self._url, GroupReader)
        batches = Batches(self.writer, reader, holdings, effects)
        self._consumptions.append(batches)
        self.background(batches.run)

    def follow(self, followers: Mapping[type[Event], Follower], lookback_s: float = 10.0) -> None:
        """Follow streams without a group, from a little ago: for snapshots and hints."""
        for event_class in followers:
            self._must_consume(event_class)
        handlers = {
            self.keys.stream(event_class): _each(event_class, follower)
            for event_class, follower in followers.items()
        }
        self.follow_entries(handlers, lookback_s)

    def follow_entries(self, handlers: Mapping[str, EntryHandler], lookback_s: float) -> None:
        """The same for raw entries, by key."""
        self._background.append(lambda: self.tail(handlers, lookback_s))

    def background(self, task: Background) -> None:
        """Run a coroutine as long as the bus runs, once the configuration is known."""
        self._background.append(lambda: self._once_configured(task))

    def lease(self, name: str) -> Lease:
        """A lease kept from `start` on. Only one process holds it."""
        lease = Lease(self.writer, self.keys, name, self.instance, lambda: self.config.timing)
        self._background.append(lease.hold)
        return lease

    # --- running -------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect (waiting for a store that is still starting), create groups, read."""
        await patiently(self.client.ping, "connect")
        for consumption in self._consumptions:
            for stream in consumption.streams:
                await self.ensure_group(stream)
        await self._broker.start()
        for subscriber in self._subscribers:
            if not subscriber.running:
                await subscriber.start()
        self._tasks = [asyncio.create_task(self._forever(each)) for each in self._background]

    async def stop(self) -> None:
        """Stop reading, then background work, then the connections."""
        await asyncio.gather(*(each.stop() for each in self._group_reads))
        await self._broker.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for consumption in self._consumptions:
            await consumption.close()
        await self.writer.close()
        await self.client.aclose()

    async def ensure_group(self, stream: str) -> None:
        """Create this service's group on a stream, from its beginning."""
        await patiently(lambda: ensure_group(self.client, stream, self.name), "group")

    async def read_group(self, stream: str, consumer: str, handler: BatchHandler) -> GroupRead:
        """Start a raw group reader now; the bus runs already."""
        await self.ensure_group(stream)
        reads_with = reader(self._broker)
        assert reads_with is not None  # noqa: S101 - the bus runs
        group_read = GroupRead(reads_with, stream, self.name, consumer, handler)
        group_read.start()
        self._group_reads.add(group_read)
        return group_read

    async def tail(self, handlers: Mapping[str, EntryHandler], lookback_s: float) -> None:
        """Follow streams by key, from a little ago on, until cancelled."""
        client = make_client(self._url)
        try:
            await tail(client, handlers, lookback_s)
        finally:
            await client.aclose()

    async def bury(self, entry: Entry, reason: str) -> None:
        """Keep an entry that cannot be handled as a dead letter, and acknowledge it."""
        await bury(self.writer, self.keys, self.name, entry, reason)

    async def pending(self, stream: str, consumer: str, count: int = 256) -> list[Entry]:
        """Entries delivered to this consumer name and not yet acknowledged, oldest first."""
        return await pending(self.client, stream, self.name, consumer, count)

    async def publish(self, event: Event, *, node: str | None = None, ordinal: str = "") -> None:
        """Publish once: repeating the call with the same subject and ordinal is harmless.

        Raises redis-py's connection errors where the store cannot be reached.
        """
        if type(event) not in self._publishes:
            raise UndeclaredError(f"{self.name} does not declare to publish {event.type}")
        stream = self.keys.stream(type(event), node)
        fields = envelope(event, self.name, ordinal=ordinal)
        await self.writer.run(
            script("publish"),
            keys={"stream": stream, "guard": self.keys.published(str(fields[3]))},
            events={"event": fields},
        )

    def _silence(self, silent_s: float) -> str:
        return f"silent for {silent_s:.0f} s" if self._heard_at else "has not answered yet"

    def note_failure(self, error: BaseException) -> None:
        """Work that should go on all the time failed, and is tried again."""
        self._failures.append((monotonic(), told(error)[:200]))

    def checks(self) -> dict[str, str]:
        """What stops this service from working, by check; "" where all is well."""
        silent_s = monotonic() - self._heard_at
        unread = {
            each.stream_sub.name: "not read" for each in self._subscribers if not each.running
        }
        unread |= failing(self._broker)
        for consumption in self._consumptions:
            unread |= consumption.failing
        dead = [task for task in self._tasks if task.done()]
        return {
            "store": "" if silent_s < STORE_SILENT_S else self._silence(silent_s),
            "configuration": "" if self.configuration.known else "none applied yet",
            "subscribers": "; ".join(f"{name}: {why}" for name, why in unread.items()),
            "background": f"{len(dead)} background tasks ended" if dead else self._keeps_failing(),
        }

    # --- inside --------------------------------------------------------------------------------

    def _keeps_failing(self) -> str:
        """One failure is retried and forgotten; where it comes again at once, no work is done."""
        if len(self._failures) < 2 or monotonic() - self._failures[0][0] > FAILING_S:
            return ""
        return f"keeps failing: {self._failures[-1][1]}"

    def _holding(self, event_class: type[Event], node: str | None = None) -> Holding:
        stream = self.keys.stream(event_class, node)
        return Holding(self.writer, self.keys, stream, self.name, self.instance)

    def _must_consume(self, event_class: type[Event]) -> None:
        if event_class not in self._consumes:
            raise UndeclaredError(
                f"{self.name} does not declare that it consumes {event_class.type}"
            )

    async def _once_configured(self, task: Background) -> None:
        await self.configuration.ready()
        await task()

    async def _forever(self, task: Background) -> None:
        """A background task outlives the store's absence; a bug in it is logged and retried."""
        while True:
            try:
                return await task()
            except UNAVAILABLE as error:
                log.warning("background_interrupted", error=type(error).__name__)
            except Exception as error:
                log.exception("background_failed")
                self.note_failure(error)
            await asyncio.sleep(0.5)

    async def _ping(self) -> None:
        while True:
            asked = monotonic()
            try:
                await self.writer.send("PING")
                self._heard_at = monotonic()
                ROUND_TRIP_SECONDS.observe(self._heard_at - asked)
            except RedisError:
                log.warning("store_silent")
            STORE_UP.set(monotonic() - self._heard_at < STORE_SILENT_S)
            await asyncio.sleep(PING_S)

    async def _tend(self) -> None:
        """Beat for what is held, and reclaim what others let fall."""
        await self.configuration.ready()
        while True:
            await asyncio.sleep(self.config.timing.claim_beat_s)
            idle_ms = int(self.config.timing.claim_idle_s * 1000)
            for consumption in self._consumptions:
                try:
                    await consumption.tend(self.client, idle_ms)
                except ResponseError as error:
                    log.warning("reclaim_failed", of=consumption.streams, error=str(error))


def _each(event_class: type[Event], follower: Follower) -> EntryHandler:
    async def on_entries(entries: Sequence[Entry]) -> None:
        for message in decoded(event_class, entries):
            await follower(message)

    return on_entries
