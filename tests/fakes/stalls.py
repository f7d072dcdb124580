"""Devices, nodes and models for decisions about residency, with everything defaulted."""

from collections.abc import Iterable
from typing import Any, Literal

from hypothesis import HealthCheck, settings

from services.model_manager.ledger import Ledger
from services.model_manager.view import Held, NodeView, Offer, View, Wanted
from shared.events.gpu import Device, GpuSampled
from shared.events.models import (
    LocalModel,
    ModelState,
    ModelStateChanged,
    NodeHeartbeat,
    ResidentModel,
)

law = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For properties: a busy machine may make an example slow, which is no fault."""

LONG_AGO_S = -100_000.0


def device(
    total_mib: int, used_mib: int = 0, uuid: str = "gpu-0", kind: Literal["gpu", "host"] = "gpu"
) -> Device:
    return Device(index=0, uuid=uuid, name=uuid, kind=kind, total_mib=total_mib, used_mib=used_mib)


def room(*free_mib: int) -> Ledger:
    """A ledger of GPUs with this much room each, above their margin."""
    ledger = Ledger()
    ledger.observe([device(mib + 1024, uuid=f"gpu-{index}") for index, mib in enumerate(free_mib)])
    return ledger


def held(model: str, held_mib: int, **facts: Any) -> Held:
    """Ready and idle for long, unless told otherwise."""
    defaults: dict[str, Any] = {
        "state": ModelState.READY,
        "in_flight": 0,
        "idle_since_s": LONG_AGO_S,
        "ready_since_s": LONG_AGO_S,
        "load_s": 5.0,
        "idle_unload_s": 1e9,
        "pinned": False,
    }
    return Held(model=model, held_mib=held_mib, **(defaults | facts))


def offer(model: str, need_mib: int, **facts: Any) -> Offer:
    return Offer(model=model, need_mib=need_mib, **({"load_s": 5.0} | facts))


def node(
    ledger: Ledger, offers: Iterable[Offer] = (), holds: Iterable[Held] = (), name: str = "box"
) -> NodeView:
    """A node whose ledger also holds what it holds, seen by the last sample."""
    holds = list(holds)
    for each in holds:
        if each.model not in ledger:
            ledger.adopt(each.model, each.held_mib)
    return NodeView(
        name=name,
        ledger=ledger,
        offers={each.model: each for each in offers},
        held={each.model: each for each in holds},
    )


def view(*nodes: NodeView, wanted: Iterable[str | Wanted] = ()) -> View:
    return View(
        nodes={each.name: each for each in nodes},
        wanted=tuple(Wanted(one, 1.0) if isinstance(one, str) else one for one in wanted),
    )


def local(name: str, need_mib: int = 4096, **facts: Any) -> LocalModel:
    defaults: dict[str, Any] = {"engine": "llama_cpp", "context_tokens": 8192, "slots": 2}
    return LocalModel(name=name, need_mib=need_mib, **(defaults | facts))


def resident(name: str, state: ModelState = ModelState.READY, **facts: Any) -> ResidentModel:
    defaults: dict[str, Any] = {"slots": 2, "in_flight": 0, "idle_s": 0.0}
    return ResidentModel(name=name, state=state, **(defaults | facts))


def beat(
    inventory: Iterable[LocalModel] = (),
    residents: Iterable[ResidentModel] = (),
    *,
    name: str = "box",
    instance: str = "box-1",
) -> NodeHeartbeat:
    return NodeHeartbeat(
        node=name,
        instance=instance,
        inventory=tuple(inventory),
        resident=tuple(residents),
        in_flight=sum(each.in_flight for each in residents),
    )


def sample(*devices: Device, name: str = "box") -> GpuSampled:
    return GpuSampled(node=name, sampler="test", devices=devices)


def changed(model: str, state: ModelState, *, name: str = "box", **facts: Any) -> ModelStateChanged:
    return ModelStateChanged(model=model, node=name, state=state, **facts)
