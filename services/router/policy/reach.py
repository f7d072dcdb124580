"""Which of its candidates a request may go to: at once, and once it waited too long."""

from collections.abc import Mapping
from typing import NamedTuple

from services.router.policy.request import Route
from services.router.policy.view import Offer


class Reach(NamedTuple):
    """A route, given what is offered."""

    active: str | None
    """The model that the request waits for; None where no live node offers one."""
    overdue: tuple[str, ...]
    """Further models that it may also go to once it waited its class's bound."""


def reach(route: Route, offers: Mapping[str, Offer]) -> Reach:
    """The first candidate at or after the position that is offered, else one before it.

    Fallbacks are never come upon in passing: a request gets there by its position, that is by
    failure, or by having waited too long.
    """
    candidates, position = route.candidates, route.position
    offered = [index for index, model in enumerate(candidates) if is_open(model, route, offers)]
    for index in sorted(offered, key=lambda index: (index < position, index)):
        if index == position or not offers[candidates[index]].fallback:
            active = index
            break
    else:
        return Reach(None, tuple(candidates[index] for index in offered))
    later = (index for index in offered if index > position and index != active)
    return Reach(candidates[active], tuple(candidates[index] for index in later))


def is_open(model: str, route: Route, offers: Mapping[str, Offer]) -> bool:
    """Whether a live node offers it that is neither too small nor too slow."""
    offer = offers.get(model)
    if offer is None or model in route.too_small:
        return False
    return not offer.places <= route.too_slow
