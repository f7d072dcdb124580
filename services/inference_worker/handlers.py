"""What the worker does with each event, and what it says by itself."""

import asyncio
from collections.abc import Iterable
from functools import partial
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any

import structlog

from services.inference_worker.engines import Engines, LoadedModel
from services.inference_worker.executor import Executor
from shared.bus import nodes
from shared.bus.attempts import AttemptRecords
from shared.bus.bus import Bus
from shared.bus.clock import StoreClock
from shared.bus.configuration import stored_configuration
from shared.bus.connection import UNAVAILABLE, patiently
from shared.bus.envelope import Entry, Message, decode
from shared.events.inference import InferenceDispatched, InferenceStopRequested
from shared.events.models import (
    LocalModel,
    ModelLoadRequested,
    ModelState,
    ModelStateChanged,
    ModelUnloadRequested,
    NodeHeartbeat,
    ResidentModel,
)
from shared.instances import is_dead_here
from shared.service import StartError

if TYPE_CHECKING:
    from shared.bus.group_read import GroupRead

log = structlog.get_logger()

REREAD_S = 1.0
STALE_MS = 8000
REFRESH_S = 2.0


class Worker:
    """A node's one worker."""

    def __init__(self, bus: Bus, node: str) -> None:
        self._bus = bus
        self._node = node
        self._records = AttemptRecords(bus.writer, bus.keys, node, bus.instance)
        self._ordinals = count()
        self._clock = StoreClock(bus.writer)
        self._news = asyncio.Event()
        self._holds_name = False
        self._rival = ""
        """The instance that holds the node's name instead of this one."""
        self._leaving = False
        self.given_up = asyncio.Event()
        """Set once somebody else is this node's worker."""
        self._reader: GroupRead | None = None
        self._told: set[asyncio.Task[None]] = set()
        self._stream = bus.keys.stream(InferenceDispatched, node)
        self.engines = Engines(self._on_state, self._news.set)
        self.executor = Executor(self._records, self.engines, lambda: bus.config)

    # --- events ----------------------------------------------------------------------------------

    async def on_dispatched(self, entries: list[Entry]) -> None:
        """Begin them side by side: what one waits for is nothing to the others."""
        await asyncio.gather(*(self._begin(entry) for entry in entries))

    async def on_stop(self, message: Message[InferenceStopRequested]) -> None:
        event = message.event
        self.executor.stop_request(event.request_id, event.attempt, event.reason)

    async def on_load(self, message: Message[ModelLoadRequested]) -> None:
        event = message.event
        if not await self._is_stale(message):
            self.engines.load(event.model, event.context_tokens, event.slots, event.reason)

    async def on_unload(self, message: Message[ModelUnloadRequested]) -> None:
        if not await self._is_stale(message):
            self.engines.unload(message.event.model, message.event.reason)

    # --- life ------------------------------------------------------------------------------------

    async def occupy(self) -> None:
        """Take the node's name, or refuse to start: a node has one worker."""
        stored = partial(stored_configuration, self._bus.client, self._bus.keys)
        ttl_s = (await patiently(stored, "occupy")).timing.node_lost_s
        patience_s = monotonic() + ttl_s + 1
        replaces = ""
        while holder := await patiently(partial(self._take_name, ttl_s, replaces), "occupy"):
            if replaces == "" and is_dead_here(holder):
                replaces = holder
            elif monotonic() > patience_s:
                raise StartError(
                    f"node {self._node} already has a worker ({holder}); "
                    "stop that one, or give this one another name with ROUNDHOUSE_NODE"
                )
            else:
                await asyncio.sleep(0.2)
        self._holds_name = True

    async def take_over(self) -> None:
        """Release what the previous instance ran. What it had not begun is pending, see `read`."""
        await self._bus.ensure_group(self._stream)
        left = await patiently(lambda: self._bus.pending(self._stream, self._node), "take over")
        await asyncio.gather(*(self._inherit(entry) for entry in left))

    async def read(self) -> None:
        """Take what is dispatched here, also what a predecessor, or a cut delivery, left pending.

        Nothing could run before it is known what the engines hold.
        """
        await self.engines.known.wait()
        while not self._leaving:
            await self.on_dispatched(await self._bus.pending(self._stream, self._node))
            if self._reader is None:
                self._reader = await self._bus.read_group(
                    self._stream, self._node, self.on_dispatched
                )
            await asyncio.sleep(REREAD_S)

    async def refresh(self) -> None:
        while True:
            await self.engines.refresh()
            await asyncio.sleep(REFRESH_S)

    async def renew_leases(self) -> None:
        while True:
            await asyncio.sleep(self._bus.config.timing.flight_beat_s)
            await self.executor.beat()

    async def heartbeat(self) -> None:
        """Say what the node is, regularly and whenever something changed.

        Until its engines were asked there is nothing to say: an empty inventory would be believed.
        """
        while not self._leaving:
            known = self.engines.known.is_set()
            holder = await (self._say(self.engines.resident) if known else self._keep_name())
            if holder and holder != self._rival:
                log.error("node_taken_over", node=self._node, by=holder)
                self.given_up.set()
            self._rival = holder or ""
            try:
                async with asyncio.timeout(self._bus.config.timing.heartbeat_s):
                    await self._news.wait()
            except TimeoutError:
                continue
            self._news.clear()

    def checks(self) -> dict[str, str]:
        """Why the node cannot be given work, as far as the worker itself knows; "" where it can."""
        name = "" if self._holds_name else "not taken yet"
        return {
            "name": f"another worker holds the name: {self._rival}" if self._rival else name,
            "engines": "" if self.engines.known.is_set() else "not asked yet",
        }

    async def close(self) -> None:
        """Take no more, give back what runs, stop the engines that were started here, and leave."""
        self._leaving = True
        try:
            await self._take_leave()
        except UNAVAILABLE:
            log.info("leave_untold", node=self._node)
        await self.executor.close()
        await self.engines.close()
        try:
            await nodes.leave(self._bus.writer, self._bus.keys, self._node, self._bus.instance)
        except UNAVAILABLE:
            log.info("name_not_returned", node=self._node)

    # --- inside ----------------------------------------------------------------------------------

    async def _begin(self, entry: Entry) -> None:
        if self.executor.holds(entry):
            return
        try:
            await self.executor.begin(entry)
        except ValueError:
            await self._discard(entry)

    async def _inherit(self, entry: Entry) -> None:
        """Settle an entry that the node's previous instance had before it."""
        try:
            dispatched = decode(InferenceDispatched, entry).event
        except ValueError:
            await self._discard(entry)
            return
        await patiently(lambda: self._records.abandon(entry, dispatched), "take over")

    async def _discard(self, entry: Entry) -> None:
        log.warning("invalid_dispatch", entry=entry.id)
        await self._bus.writer.send("XACK", self._stream, self._bus.name, entry.id)

    async def _is_stale(self, message: Message[Any]) -> bool:
        """A command that lay around is void: the model-manager has decided anew by now."""
        age_ms = await self._clock.look() - message.entry.milliseconds
        if age_ms <= STALE_MS:
            return False
        event = message.event
        log.warning("stale_command", command=event.type, model=event.model, age_ms=age_ms)
        return True

    async def _take_leave(self) -> None:
        """Let the router see no slots here before it hears of what is given back.

        Read until then: what nobody read would be missed only when its lease ends.
        """
        if self.engines.known.is_set() and not self._rival:
            await self._say(_leaving(self.engines.offers.inventory))
        if self._reader is not None:
            await self._reader.stop()

    async def _take_name(self, ttl_s: float, replaces: str) -> str | None:
        bus = self._bus
        return await nodes.occupy(
            bus.writer, bus.keys, self._node, bus.instance, ttl_s, replaces=replaces
        )

    async def _keep_name(self) -> str | None:
        return await self._take_name(self._bus.config.timing.node_lost_s, "")

    async def _say(self, resident: tuple[ResidentModel, ...]) -> str | None:
        heartbeat = NodeHeartbeat(
            node=self._node,
            instance=self._bus.instance,
            inventory=self.engines.offers.inventory,
            resident=resident,
            in_flight=self.executor.in_flight,
            left_out=self.engines.offers.left_out,
        )
        ttl_s = self._bus.config.timing.node_lost_s
        return await nodes.beat(self._bus.writer, self._bus.keys, heartbeat, ttl_s)

    def _on_state(self, loaded: LoadedModel, reason: str, load_ms: int | None) -> None:
        changed = ModelStateChanged(
            model=loaded.local.name,
            node=self._node,
            state=loaded.state,
            reason=reason,
            load_ms=load_ms,
            measured_mib=loaded.measured_mib,
        )
        log.info("model_state", model=changed.model, state=changed.state, reason=reason)
        self._news.set()
        task = asyncio.create_task(self._tell(changed))
        self._told.add(task)
        task.add_done_callback(self._told.discard)

    async def _tell(self, changed: ModelStateChanged) -> None:
        try:
            ordinal = f"{self._node}/{self._bus.instance}/{next(self._ordinals)}"
            await self._bus.publish(changed, ordinal=ordinal)
        except UNAVAILABLE:
            log.info("state_untold", model=changed.model)  # the next heartbeat says it


def _leaving(inventory: Iterable[LocalModel]) -> tuple[ResidentModel, ...]:
    """All that a node offers, as it says it when it stops: known, but good for nothing now."""
    return tuple(
        ResidentModel(
            name=local.name, state=ModelState.DRAINING, slots=local.slots, in_flight=0, idle_s=0.0
        )
        for local in inventory
    )
