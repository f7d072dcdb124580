"""One term of leadership: what is heard in it, and what is commanded."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from itertools import count

import structlog

from services.model_manager.fleet import Fleet
from services.model_manager.ledger import OverCommitError
from services.model_manager.refusal import Refusal, refusals
from services.model_manager.residency import Command, Load, Unload, decide, ranked
from services.model_manager.view import View
from shared.bus import nodes
from shared.bus.bus import Bus
from shared.bus.envelope import Entry
from shared.bus.lease import Lease
from shared.bus.requests import FencedError
from shared.events.gpu import GpuSampled
from shared.events.models import (
    LocalModel,
    ModelActionRequested,
    ModelDemandChanged,
    ModelDemandRefused,
    ModelLoadRequested,
    ModelRefusal,
    ModelStateChanged,
    ModelUnloadRequested,
    NodeHeartbeat,
    NodeLost,
)

log = structlog.get_logger()

REFUSALS_REPEATED_S = 2.0


class Term:
    """Handlers take the event, the entry that carried it, and the monotonic time in seconds."""

    def __init__(self, bus: Bus, lease: Lease, token: str) -> None:
        self.token = token
        self._bus = bus
        self._lease = lease
        self._fleet = Fleet()
        self._commands = count(1)
        self._waiting: frozenset[str] = frozenset()
        self._refused: dict[str, str] = {}
        self._refused_at_s = -math.inf

    def on_heartbeat(self, beat: NodeHeartbeat, entry: Entry, now_s: float) -> None:
        self._fleet.on_heartbeat(beat, entry.milliseconds, now_s)

    def on_sample(self, sample: GpuSampled, _entry: Entry, _now_s: float) -> None:
        self._fleet.on_sample(sample)

    def on_demand(self, change: ModelDemandChanged, _entry: Entry, now_s: float) -> None:
        self._fleet.on_demand(change.demands, now_s)

    def on_state_changed(self, change: ModelStateChanged, entry: Entry, now_s: float) -> None:
        self._fleet.on_state_changed(change, entry.milliseconds, now_s)

    def on_node_lost(self, lost: NodeLost, _entry: Entry, _now_s: float) -> None:
        self._fleet.on_node_lost(lost.node)

    async def on_action(self, action: ModelActionRequested, entry: Entry, now_s: float) -> None:
        """A load waits for room like any demand, before it; an unload drains at once."""
        log.info("action", model=action.model, action=action.action, node=action.node)
        if action.action == "load":
            self._fleet.ask(action.model, action.node, now_s)
            return
        self._fleet.withdraw(action.model)
        commands = [
            (Unload(node, action.model, "asked"), f"{node}:{entry.id}")
            for node in self._fleet.holding(action.model, action.node)
        ]
        await self._command(commands, now_s)

    async def tick(self, now_s: float) -> None:
        """Decide and command."""
        self.must_lead()
        view = self._fleet.view(self._bus.config, now_s)
        refused = refusals(view, now_s)
        commands = decide(view, now_s)
        ordinals = (f"{command.node}:{self.token}:{next(self._commands)}" for command in commands)
        await self._command(list(zip(commands, ordinals, strict=True)), now_s)
        await self._tell_refused(refused, now_s)
        self._tell_waiting(view, commands)

    def must_lead(self) -> None:
        """Raise `FencedError` where the lease that this term began with is gone."""
        if self._lease.token != self.token:
            raise FencedError(self.token)

    async def _command(self, commands: Sequence[tuple[Command, str]], now_s: float) -> None:
        """Enter all commands in the ledger at once, then publish them: what is heard meanwhile
        is no part of the decision. One that is lost on the way costs a wait; one that is entered
        late could be given twice.
        """
        issued = [(command, ordinal, self._issue(command, now_s)) for command, ordinal in commands]
        for command, ordinal, model in issued:
            if model is not None:
                await self._publish(command, ordinal, model)

    def _issue(self, command: Command, now_s: float) -> LocalModel | None:
        try:
            return self._fleet.issued(command, now_s)
        except (OverCommitError, KeyError) as error:
            log.warning("command_void", **asdict(command), why=repr(error))
            return None

    async def _publish(self, command: Command, ordinal: str, model: LocalModel) -> None:
        log.info("command", command=type(command).__name__, **asdict(command))
        event: ModelLoadRequested | ModelUnloadRequested
        if isinstance(command, Load):
            event = ModelLoadRequested(
                model=command.model,
                context_tokens=model.context_tokens,
                slots=model.slots,
                reason=command.reason,
            )
        else:
            event = ModelUnloadRequested(model=command.model, reason=command.reason)
        self.must_lead()
        bus = self._bus
        await nodes.command(
            bus.writer,
            bus.keys,
            event,
            command.node,
            ordinal=ordinal,
            fence_key=self._lease.fence_key,
            token=self.token,
        )

    async def _tell_refused(self, refused: Sequence[Refusal], now_s: float) -> None:
        """Tell which models nobody need wait for, when that changed and, while any, repeatedly."""
        reasons = {refusal.model: refusal.why for refusal in refused}
        repeat = bool(reasons) and now_s - self._refused_at_s >= REFUSALS_REPEATED_S
        if reasons == self._refused and not repeat:
            return
        for model in reasons.keys() - self._refused.keys():
            log.warning("model_refused", model=model, why=reasons[model])
        self._refused, self._refused_at_s = reasons, now_s
        told = tuple(ModelRefusal(**asdict(refusal)) for refusal in refused)
        await self._bus.publish(ModelDemandRefused(manager=self.token, refusals=told))

    def _tell_waiting(self, view: View, commands: tuple[Command, ...]) -> None:
        """Say once of a model that it is wanted and has no place."""
        loading = {command.model for command in commands if isinstance(command, Load)}
        waiting = frozenset(want.model for want in ranked(view)) - loading
        for model in sorted(waiting - self._waiting):
            log.info("waits_for_room", model=model, nodes=sorted(view.nodes))
        self._waiting = waiting
