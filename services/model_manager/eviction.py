"""Which models to unload so that another fits. Pure."""

from collections.abc import Collection

from services.model_manager.view import Held, NodeView
from shared.events.models import ModelState

MIN_RESIDENCY_LOADS = 3.0
"""A model stays at least this many times as long as its load took, which bounds thrashing."""

RECENCY_S = 30.0
"""Reload cost per MiB over (idle time + 30 s) lost to LRU in no cell of the policy simulation."""


def victims(
    node: NodeView, need_mib: int, wanted: Collection[str], now_s: float
) -> tuple[str, ...] | None:
    """The models whose unloading makes room, cheapest first; None where nothing can.

    Only idle, unpinned models that nobody waits for and that have stayed their least time.
    What is leaving anyway counts as gone.
    """
    candidates = [
        held
        for held in node.held.values()
        if is_idle(held) and held.model not in wanted and _has_stayed(held, now_s)
    ]
    candidates.sort(key=lambda held: reload_cost(held, now_s))
    chosen: list[str] = []
    for candidate in candidates:
        chosen.append(candidate.model)
        if _suffices(node, need_mib, chosen):
            return _without_needless(node, need_mib, chosen)
    return None


def is_idle(held: Held) -> bool:
    """Neither serving nor on its way in or out, and not to be kept at all costs."""
    return held.state is ModelState.READY and held.in_flight == 0 and not held.pinned


def reload_cost(held: Held, now_s: float) -> float:
    """What unloading the model is likely to cost, per MiB that it frees."""
    idle_s = max(0.0, now_s - held.idle_since_s)
    return held.load_s / max(1, held.held_mib) / (idle_s + RECENCY_S)


def _has_stayed(held: Held, now_s: float) -> bool:
    return now_s - held.ready_since_s >= MIN_RESIDENCY_LOADS * held.load_s


def _suffices(node: NodeView, need_mib: int, chosen: Collection[str]) -> bool:
    return node.ledger.fit(need_mib, without=node.leaving.union(chosen)) is not None


def _without_needless(node: NodeView, need_mib: int, chosen: list[str]) -> tuple[str, ...]:
    """A large victim may make the smaller ones chosen before it needless."""
    needed = chosen
    for model in reversed(chosen):
        fewer = [other for other in needed if other != model]
        if _suffices(node, need_mib, fewer):
            needed = fewer
    return tuple(needed)
