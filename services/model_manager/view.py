"""What a decision about residency is taken on: the nodes, what they hold, and what is wanted."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.model_manager.ledger import Ledger
from shared.events.models import ModelState

LEAVING = frozenset({ModelState.DRAINING, ModelState.UNLOADING})
SERVING = frozenset({ModelState.LOADING, ModelState.READY})
"""Answers requests, or is about to."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A model that a node could load. Times are seconds of one monotonic clock."""

    model: str
    need_mib: int
    load_s: float
    not_before_s: float = 0.0
    """Until then an earlier failure keeps it from being tried again."""
    failures: int = 0
    """Of its loads, since the last one that worked."""
    problem: str = ""
    """Why the last one failed, as its node says."""


@dataclass(frozen=True, slots=True)
class Held:
    """A model in a node's memory, or on its way in or out."""

    model: str
    state: ModelState
    in_flight: int
    idle_since_s: float
    ready_since_s: float
    held_mib: int
    load_s: float
    idle_unload_s: float
    pinned: bool


@dataclass(frozen=True, slots=True)
class NodeView:
    """A live node. Decisions read its ledger and leave it as it is."""

    name: str
    ledger: Ledger
    offers: Mapping[str, Offer]
    held: Mapping[str, Held]

    @property
    def is_loading(self) -> bool:
        return any(held.state is ModelState.LOADING for held in self.held.values())

    @property
    def leaving(self) -> frozenset[str]:
        return frozenset(model for model, held in self.held.items() if held.state in LEAVING)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A model that requests wait for (`weight`: their priorities' and waits'), or that an
    operator asked for (`asked`), perhaps on one certain node.
    """

    model: str
    weight: float = 0.0
    asked: bool = False
    node: str | None = None


@dataclass(frozen=True, slots=True)
class View:
    nodes: Mapping[str, NodeView]
    wanted: tuple[Wanted, ...]

    @property
    def wanted_models(self) -> frozenset[str]:
        return frozenset(want.model for want in self.wanted)
