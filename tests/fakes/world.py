"""Nodes, models and waiting requests for the router's policy, with everything defaulted."""

from collections.abc import Iterable, Mapping
from typing import Any

from hypothesis import HealthCheck, settings

from services.router.policy.request import Waiting, size_of
from services.router.policy.view import Fleet, Node
from shared.events.base import Operation, Priority
from shared.events.models import LocalModel, ModelState, ResidentModel

LONG_AFTER_MS = 10**12
SIZE = size_of(Operation.CHAT, 100, 0)

law = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For properties: a busy machine may make an example slow, which is no fault."""


def local(name: str, **facts: Any) -> LocalModel:
    """A model in a node's inventory; `heuristic:*` and `tiny` are what they are elsewhere."""
    degraded = name.startswith("heuristic:")
    defaults: dict[str, Any] = {
        "engine": "heuristic" if degraded else "llama_cpp",
        "context_tokens": 8192,
        "slots": 2,
        "need_mib": 0 if degraded else 4096,
        "loadable": not degraded,
        "degraded": degraded,
        "noise": name == "tiny",
    }
    return LocalModel(name=name, **(defaults | facts))


def resident(
    name: str, *, slots: int = 2, state: ModelState = ModelState.READY, in_flight: int = 0
) -> ResidentModel:
    return ResidentModel(name=name, state=state, slots=slots, in_flight=in_flight, idle_s=0)


def node(
    name: str,
    inventory: Iterable[str | LocalModel] = (),
    ready: Iterable[str | ResidentModel] = (),
    *,
    alive: bool = True,
    settled: bool = True,
    left_out: Mapping[str, str] | None = None,
) -> Node:
    """A node that could serve all of `inventory` and `ready`, and has the latter in memory."""
    profiles = [resident(one) if isinstance(one, str) else one for one in ready]
    models = [local(one) if isinstance(one, str) else one for one in inventory]
    named = {model.name: model for model in models}
    for profile in profiles:
        named.setdefault(profile.name, local(profile.name))
    return Node(
        name=name,
        instance=f"{name}-1",
        inventory=named,
        resident={profile.name: profile for profile in profiles},
        alive=alive,
        settled=settled,
        left_out=left_out or {},
    )


def fleet_of(*nodes: Node) -> Fleet:
    fleet = Fleet()
    for one in nodes:
        fleet.put(one)
    return fleet


def waiting(
    request: str,
    *candidates: str,
    priority: Priority = Priority.NORMAL,
    admitted_ms: int = 0,
    deadline_ms: int = LONG_AFTER_MS,
    **facts: Any,
) -> Waiting:
    return Waiting(
        id=request,
        tenant=facts.pop("tenant", "local"),
        priority=priority,
        candidates=candidates or ("qwen",),
        admitted_ms=admitted_ms,
        deadline_ms=deadline_ms,
        size=facts.pop("size", SIZE),
        **facts,
    )
