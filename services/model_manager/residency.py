"""Which models to load and unload now. Pure: the same view and time, the same decision."""

import math
from dataclasses import dataclass

from services.model_manager.eviction import is_idle
from services.model_manager.placement import place
from services.model_manager.view import SERVING, NodeView, View, Wanted


@dataclass(frozen=True, slots=True)
class Load:
    node: str
    model: str
    reason: str


@dataclass(frozen=True, slots=True)
class Unload:
    node: str
    model: str
    reason: str


Command = Load | Unload


def decide(view: View, now_s: float) -> tuple[Command, ...]:
    """What to command now: loads for what is wanted, unloads to make room and of idle models.

    A load is commanded only into room that is there; where something has to leave first, its
    unload comes now and the load in a later decision. At most one load per node at a time, never
    a second one of a model that some node already serves, never an unload of a serving, pinned
    or wanted model.
    """
    commands: list[Command] = []
    nodes = dict(view.nodes)
    for want in ranked(view):
        placement = place(want, nodes.values(), view.wanted_models, now_s)
        if placement is None:
            continue
        node = nodes.pop(placement.node)
        if placement.evict:
            reason = f"room for {want.model}"
            commands += [Unload(node.name, victim, reason) for victim in placement.evict]
        elif not placement.waits:
            commands.append(Load(node.name, want.model, "asked" if want.asked else "demand"))
    leaving = {(command.node, command.model) for command in commands}
    commands += [unload for unload in _idle(view, now_s) if _key(unload) not in leaving]
    return tuple(commands)


def ranked(view: View) -> list[Wanted]:
    """What is wanted and nowhere resident, the most useful load first: what was asked for, then
    by priority-weighted backlog per second of load time.
    """
    missing = [want for want in view.wanted if not _is_served(view, want)]
    return sorted(missing, key=lambda want: (want.asked, _usefulness(view, want)), reverse=True)


def _is_served(view: View, want: Wanted) -> bool:
    nodes = view.nodes.values() if want.node is None else [view.nodes.get(want.node)]
    return any(_serves(node, want.model) for node in nodes if node is not None)


def _serves(node: NodeView, model: str) -> bool:
    return model in node.held and node.held[model].state in SERVING


def _usefulness(view: View, want: Wanted) -> float:
    load_s = [
        node.offers[want.model].load_s for node in view.nodes.values() if want.model in node.offers
    ]
    return want.weight / max(0.1, min(load_s, default=math.inf))


def _idle(view: View, now_s: float) -> list[Unload]:
    return [
        Unload(node.name, held.model, f"idle for {held.idle_unload_s:g} s")
        for node in view.nodes.values()
        for held in node.held.values()
        if is_idle(held)
        and held.model not in view.wanted_models
        and now_s - held.idle_since_s >= held.idle_unload_s
    ]


def _key(command: Command) -> tuple[str, str]:
    return command.node, command.model
