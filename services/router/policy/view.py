"""What the policy sees of the world: the nodes as last heard, and which slots are free."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from services.router.policy.durations import Durations
from services.router.policy.flight import Flight, Slot
from shared.events.base import Operation
from shared.events.models import LocalModel, ModelState, NodeHeartbeat, ResidentModel


@dataclass(frozen=True, slots=True)
class Node:
    """A node as its last heartbeat described it."""

    name: str
    instance: str
    inventory: Mapping[str, LocalModel]
    resident: Mapping[str, ResidentModel]
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Configured models that it cannot offer, and why."""
    alive: bool = True
    settled: bool = True
    """False until a heartbeat of this instance was heard by this leader: it counts as full."""

    @classmethod
    def heard(cls, beat: NodeHeartbeat) -> "Node":
        return cls(
            name=beat.node,
            instance=beat.instance,
            inventory={model.name: model for model in beat.inventory},
            resident={model.name: model for model in beat.resident},
            left_out=beat.left_out,
        )

    def slots(self, model: str) -> int:
        """Requests that the model takes at a time, here and now; 0 where it takes none."""
        local = self.inventory.get(model)
        if local is None or not self.alive or not self.settled:
            return 0
        profile = self.resident.get(model)
        if profile is not None:
            return profile.slots if profile.state is ModelState.READY else 0
        return 0 if local.loadable else local.slots


@dataclass(frozen=True, slots=True)
class Offer:
    """A model that live nodes could serve, loaded or not; over all of them where they differ."""

    operations: frozenset[Operation]
    """What each of the nodes can do with it."""
    context_tokens: int
    """The largest."""
    need_mib: int
    """The largest."""
    noise: bool
    degraded: bool
    places: frozenset[Slot]
    """Itself, on each of the nodes."""

    @property
    def fallback(self) -> bool:
        """Better than no answer, but no model's answer."""
        return self.noise or self.degraded

    def holds(self, tokens: int) -> bool:
        """Whether its context is large enough; rules read any length."""
        return self.degraded or tokens <= self.context_tokens


@dataclass(frozen=True, slots=True)
class Barred:
    """Why no request need wait for a model, and after how long it may be otherwise."""

    why: str
    retry_after_s: float | None = None


class Fleet:
    """All nodes, and the slots that the leader's own attempts leave free on them."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        """By name; a lost node stays, so that its models remain known."""
        self.offers: dict[str, Offer] = {}
        """By model; what is barred is not offered."""
        self.barred: dict[str, Barred] = {}
        """By model: refused by the model-manager, or missing wherever it is configured."""
        self.offers_version = 0
        """Counts up whenever `offers` changes."""
        self.known: frozenset[str] = frozenset()
        """Models in the inventory of some node, living or lost."""
        self.resident: frozenset[str] = frozenset()
        """Models that some node could run without a load."""
        self.flight = Flight()
        self.durations = Durations()
        self._refused: Mapping[str, Barred] = {}
        self._free: dict[str, dict[str, int]] = {}

    def put(self, node: Node) -> None:
        """A heartbeat was heard, or something else is known of the node."""
        before = self.nodes.get(node.name)
        self.nodes[node.name] = node
        for model in node.inventory.keys() | (before.inventory.keys() if before else ()):
            self._count(Slot(node.name, model))
        if before is None or _offering(before) != _offering(node):
            self._list_offers()
        self.resident = frozenset(
            model for one in self.nodes.values() for model in one.inventory if one.slots(model)
        )

    def lose(self, name: str) -> None:
        """The node's heartbeats stopped. What flies there keeps its slots until it is ended."""
        node = self.nodes.get(name)
        if node is not None:
            self.put(replace(node, alive=False))

    def refuse(self, refused: Mapping[str, Barred]) -> None:
        """All that the model-manager will not load now."""
        if refused != self._refused:
            self._refused = refused
            self._list_offers()

    def problems(self, model: str) -> str:
        """What keeps the model from being loaded, as far as anybody said; "" where nobody did."""
        if model in self.barred:
            return self.barred[model].why
        said = [
            f"{node.name}: {local.load_problem}"
            for node in self.nodes.values()
            if node.alive and (local := node.inventory.get(model)) and local.load_problem
        ]
        return "; ".join(said)

    def start(self, request: str, node: str, model: str) -> None:
        """An attempt uses a slot, also beyond those that the node has: a successor's view lags."""
        slot = Slot(node, model)
        self.flight.start(request, slot)
        self._count(slot)

    def end(self, request: str) -> None:
        """The attempt let its slot go. Harmless where it holds none."""
        slot = self.flight.end(request)
        if slot is not None:
            self._count(slot)

    def free_slots(self, node: str, model: str) -> int:
        return self._free.get(model, {}).get(node, 0)

    def models_with_slots(self) -> Mapping[str, Mapping[str, int]]:
        """By model with a free slot on some node, how many there are on which."""
        return self._free

    def best_nodes(self, model: str) -> list[str]:
        """The nodes where the model has free slots, those with most of them first, then by name."""
        free = self._free.get(model, {})
        return sorted(free, key=lambda node: (-free[node], node))

    def _count(self, slot: Slot) -> None:
        node = self.nodes.get(slot.node)
        free = node.slots(slot.model) - len(self.flight.on(slot)) if node else 0
        by_node = self._free.setdefault(slot.model, {})
        if free > 0:
            by_node[slot.node] = free
        else:
            by_node.pop(slot.node, None)
            if not by_node:
                del self._free[slot.model]

    def _list_offers(self) -> None:
        found: dict[str, dict[str, LocalModel]] = {}
        for node in self.nodes.values():
            if node.alive:
                for model in node.inventory.values():
                    found.setdefault(model.name, {})[node.name] = model
        self.offers = {
            name: _combine(models) for name, models in found.items() if name not in self._refused
        }
        self.offers_version += 1
        self.known = frozenset().union(*(node.inventory for node in self.nodes.values()))
        self.barred = {**self._left_out(), **self._refused}

    def _left_out(self) -> dict[str, Barred]:
        """What some living node is configured for and does not have, and no node is known to."""
        reasons: dict[str, list[str]] = {}
        for node in self.nodes.values():
            for model, why in node.left_out.items() if node.alive else ():
                if model not in self.known:
                    reasons.setdefault(model, []).append(f"{node.name}: {why}")
        return {model: Barred("; ".join(said)) for model, said in reasons.items()}


def _offering(node: Node) -> tuple[object, ...]:
    return node.alive, node.inventory, node.left_out


def _combine(by_node: Mapping[str, LocalModel]) -> Offer:
    models = by_node.values()
    return Offer(
        operations=frozenset.intersection(*(frozenset(model.operations) for model in models)),
        context_tokens=max(model.context_tokens for model in models),
        need_mib=max(model.need_mib for model in models),
        noise=any(model.noise for model in models),
        degraded=any(model.degraded for model in models),
        places=frozenset(Slot(node, model.name) for node, model in by_node.items()),
    )
