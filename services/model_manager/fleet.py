"""What is known of all nodes and of what is wanted; what was commanded is part of it. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from services.model_manager.nodes import Node
from services.model_manager.residency import Command, Load
from services.model_manager.view import View, Wanted
from shared.config import Config
from shared.events.base import Priority
from shared.events.gpu import GpuSampled
from shared.events.models import (
    LocalModel,
    ModelDemand,
    ModelState,
    ModelStateChanged,
    NodeHeartbeat,
)

WEIGHTS = {Priority.CRITICAL: 64, Priority.HIGH: 16, Priority.NORMAL: 4, Priority.LOW: 1}
"""What one waiting request of a class weighs when the next load is chosen."""

AGEING_S = 15.0
"""A wait this long counts as a second request, so that nothing is outweighed for ever."""

DEMAND_FRESH_S = 30.0
"""A router that is alive repeats what waits; one that is gone must not keep models loaded."""

ASKED_FOR_S = 600.0
"""An operator's wish for a load that found no room is given up after that."""


@dataclass(slots=True)
class Fleet:
    """All times are seconds of the manager's monotonic clock; `_ms` are the store's."""

    _nodes: dict[str, Node] = field(default_factory=dict)
    _demands: tuple[ModelDemand, ...] = ()
    _demanded_at_s: float = -DEMAND_FRESH_S
    _asked: dict[tuple[str, str | None], float] = field(default_factory=dict)

    def on_heartbeat(self, beat: NodeHeartbeat, at_ms: int, now_s: float) -> None:
        self._node(beat.node).on_heartbeat(beat, at_ms, now_s)

    def on_sample(self, sample: GpuSampled) -> None:
        self._node(sample.node).ledger.observe(sample.devices)

    def on_state_changed(self, change: ModelStateChanged, at_ms: int, now_s: float) -> None:
        self._node(change.node).on_state_changed(change, at_ms, now_s)

    def on_demand(self, demands: Iterable[ModelDemand], now_s: float) -> None:
        self._demands = tuple(demand for demand in demands if any(demand.waiting.values()))
        self._demanded_at_s = now_s

    def on_node_lost(self, node: str) -> None:
        self._node(node).on_lost()

    def ask(self, model: str, node: str | None, now_s: float) -> None:
        """An operator wants the model loaded, on that node or anywhere."""
        self._asked[(model, node)] = now_s
        for name, each in self._nodes.items():
            if node in (None, name):
                each.forgive(model)

    def withdraw(self, model: str) -> None:
        """The operator wants it no longer."""
        self._asked = {wish: at_s for wish, at_s in self._asked.items() if wish[0] != model}

    def issued(self, command: Command, now_s: float) -> LocalModel:
        """Enter a command before it is published; the model as its node offers it.

        Raise `OverCommitError` for a load without room.
        """
        node = self._nodes[command.node]
        if isinstance(command, Load):
            node.issued_load(command.model, now_s)
        else:
            node.issued_unload(command.model, now_s)
        return node.inventory[command.model]

    def holding(self, model: str, node: str | None) -> list[str]:
        """The nodes, or that one node, with the model in memory or on its way in."""
        return [
            name for name, each in self._nodes.items() if node in (None, name) and each.holds(model)
        ]

    def view(self, config: Config, now_s: float) -> View:
        """The live nodes, and what is wanted of them."""
        silent_since_s = now_s - config.timing.node_lost_s
        nodes = {
            name: node.view(config, now_s)
            for name, node in self._nodes.items()
            if node.heard_at_s > silent_since_s
        }
        self._forget_wishes(now_s)
        asked = [Wanted(model, asked=True, node=node) for model, node in self._asked]
        return View(nodes, (*asked, *self._demanded(now_s)))

    def _demanded(self, now_s: float) -> list[Wanted]:
        since_s = now_s - self._demanded_at_s
        if since_s >= DEMAND_FRESH_S:
            return []
        return [
            Wanted(demand.model, _weight(demand, demand.oldest_wait_s + since_s))
            for demand in self._demands
        ]

    def _forget_wishes(self, now_s: float) -> None:
        """Those that came true, and those that are too old."""
        for (model, node), asked_at_s in [*self._asked.items()]:
            holding = [self._nodes[name].state(model) for name in self.holding(model, node)]
            if ModelState.READY in holding or now_s - asked_at_s >= ASKED_FOR_S:
                del self._asked[(model, node)]

    def _node(self, name: str) -> Node:
        return self._nodes.setdefault(name, Node(name))


def _weight(demand: ModelDemand, oldest_wait_s: float) -> float:
    waiting = sum(WEIGHTS[priority] * count for priority, count in demand.waiting.items())
    return waiting * (1.0 + oldest_wait_s / AGEING_S)
