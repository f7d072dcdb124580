"""On which node to load a model. Pure."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from services.model_manager.eviction import reload_cost, victims
from services.model_manager.view import NodeView, Wanted


@dataclass(frozen=True, slots=True)
class Placement:
    """The node that shall take the model, and what has to leave it first."""

    node: str
    evict: tuple[str, ...] = ()
    waits: bool = False
    """Room is being made already."""


def place(
    want: Wanted, nodes: Iterable[NodeView], wanted: Collection[str], now_s: float
) -> Placement | None:
    """The best node for the model now, or None where it cannot fit.

    A node with room comes before one that is making room, and that before one that would have
    to unload something; all of them before nodes on which the model could not be loaded before.
    `wanted` names all models that are waited for: none of them is unloaded.
    """
    able = [node for node in nodes if can_take(node, want, now_s)]
    sound = [node for node in able if not node.offers[want.model].problem]
    troubled = [node for node in able if node.offers[want.model].problem]
    return _among(sound, want, wanted, now_s) or _among(troubled, want, wanted, now_s)


def _among(
    able: Sequence[NodeView], want: Wanted, wanted: Collection[str], now_s: float
) -> Placement | None:
    roomy = [node for node in able if _fits(node, want.model)]
    if roomy:
        return Placement(min(roomy, key=lambda node: _quickest(node, want.model)).name)
    for node in able:
        if node.leaving and _fits(node, want.model, without=node.leaving):
            return Placement(node.name, waits=True)
    return _by_eviction(want.model, able, wanted, now_s)


def can_take(node: NodeView, want: Wanted, now_s: float) -> bool:
    """Whether the node offers the model, does not hold it, and is free to load it now."""
    offer = node.offers.get(want.model)
    return (
        offer is not None
        and offer.not_before_s <= now_s
        and want.node in (None, node.name)
        and want.model not in node.held
        and not node.is_loading
    )


def _fits(node: NodeView, model: str, without: Collection[str] = ()) -> bool:
    return node.ledger.fit(node.offers[model].need_mib, without) is not None


def _quickest(node: NodeView, model: str) -> tuple[float, int]:
    return node.offers[model].load_s, -sum(node.ledger.free_mib().values())


def _by_eviction(
    model: str, able: Iterable[NodeView], wanted: Collection[str], now_s: float
) -> Placement | None:
    found = []
    for node in able:
        evict = victims(node, node.offers[model].need_mib, wanted, now_s)
        if evict is not None:
            cost = sum(reload_cost(node.held[victim], now_s) for victim in evict)
            found.append((cost, node.name, evict))
    if not found:
        return None
    _, name, evict = min(found)
    return Placement(name, evict)
