"""Which models nobody need wait for: they fit on no node, or cannot be loaded. Pure."""

from dataclasses import dataclass

from services.model_manager.view import NodeView, Offer, View

MOST_FAILURES = 3
"""Loads that fail in a row before a node is given up on. From then on the model is refused while
its pauses last; after each of them one more load is tried, should somebody want it."""


@dataclass(frozen=True, slots=True)
class Refusal:
    model: str
    why: str
    retry_after_s: float | None
    """Until it is tried again; None where only a change of the nodes or the configuration helps."""


def refusals(view: View, now_s: float) -> tuple[Refusal, ...]:
    """The models that every live node which offers them has reason not to load."""
    models = {model for node in view.nodes.values() for model in node.offers}
    found = (_refused(model, view, now_s) for model in sorted(models))
    return tuple(refusal for refusal in found if refusal is not None)


def _refused(model: str, view: View, now_s: float) -> Refusal | None:
    offering = [node for node in view.nodes.values() if model in node.offers]
    reasons = {node.name: _reason(node, node.offers[model], now_s) for node in offering}
    said = [f"{node}: {reason}" for node, reason in reasons.items() if reason]
    if len(said) < len(offering):
        return None
    pauses_s = [node.offers[model].not_before_s - now_s for node in offering]
    return Refusal(model, "; ".join(said), min((s for s in pauses_s if s > 0), default=None))


def _reason(node: NodeView, offer: Offer, now_s: float) -> str:
    """Why the node will not load it in the near future; "" where it holds it, or may."""
    if offer.model in node.held:
        return ""
    if too_large := _too_large(node, offer):
        return too_large
    if offer.failures >= MOST_FAILURES and offer.not_before_s > now_s:
        return f"{offer.failures} loads failed, the last one so: {offer.problem or 'unexplained'}"
    return ""


def _too_large(node: NodeView, offer: Offer) -> str:
    """By what the node has, not by what is free: other programs may end, and models leave."""
    capacity_mib = node.ledger.capacity_mib
    if capacity_mib is None:
        return ""
    pinned_mib = sum(held.held_mib for held in node.held.values() if held.pinned)
    if offer.need_mib <= capacity_mib - pinned_mib:
        return ""
    but = f", {pinned_mib} of them pinned" if pinned_mib else ""
    return f"it needs {offer.need_mib} MiB, and there are {capacity_mib} MiB for models{but}"
