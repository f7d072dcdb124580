"""Events about models, the nodes that hold them, and the commands that move them."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from shared.events.base import Event, Name, Operation, Priority, Value


class ModelState(StrEnum):
    UNLOADED = "unloaded"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    UNLOADING = "unloading"
    STUCK = "stuck"


class ModelDemand(Value):
    """What waits for one model."""

    model: Name
    waiting: dict[Priority, int]
    oldest_wait_s: float


class ModelDemandChanged(Event):
    """What waits, by model: a full snapshot, so that the last one is all a reader needs."""

    type: ClassVar[str] = "model.demand_changed.v1"
    subject_field: ClassVar[str] = "router"
    sampled: ClassVar[bool] = True

    router: Annotated[str, Field(description="fence token of the router that saw it")]
    demands: tuple[ModelDemand, ...]


class ModelRefusal(Value):
    """A model that nobody will load now, and why."""

    model: Name
    why: str
    retry_after_s: Annotated[
        float | None, Field(description="until it is tried again; absent: only a change helps")
    ] = None


class ModelDemandRefused(Event):
    """Models that are not loaded whoever waits for them: a full snapshot, the last one counts."""

    type: ClassVar[str] = "model.demand_refused.v1"
    subject_field: ClassVar[str] = "manager"
    sampled: ClassVar[bool] = True

    manager: Annotated[str, Field(description="fence token of the model-manager that decided it")]
    refusals: tuple[ModelRefusal, ...]


class ModelLoadRequested(Event):
    """This node's worker shall make the model resident."""

    type: ClassVar[str] = "model.load_requested.v1"
    subject_field: ClassVar[str] = "model"
    partition: ClassVar[str | None] = "node"

    model: Name
    context_tokens: int
    slots: int
    reason: str


class ModelUnloadRequested(Event):
    """This node's worker shall drain the model, unload it and confirm."""

    type: ClassVar[str] = "model.unload_requested.v1"
    subject_field: ClassVar[str] = "model"
    partition: ClassVar[str | None] = "node"

    model: Name
    reason: str


class ModelActionRequested(Event):
    """An operator or a schedule asks for a model to be loaded or unloaded."""

    type: ClassVar[str] = "model.action_requested.v1"
    subject_field: ClassVar[str] = "model"

    model: Name
    action: Literal["load", "unload"]
    node: Name | None = None


class ModelStateChanged(Event):
    """What a model on a node is doing now."""

    type: ClassVar[str] = "model.state_changed.v1"
    subject_field: ClassVar[str] = "model"

    model: Name
    node: Name
    state: ModelState
    reason: str = ""
    load_ms: int | None = None
    measured_mib: int | None = None


class LocalModel(Value):
    """A model that a node could serve, loaded or not."""

    name: Name
    engine: str
    operations: tuple[Operation, ...] = (Operation.CHAT, Operation.COMPLETION)
    context_tokens: int
    slots: int
    need_mib: Annotated[int, Field(description="memory to reserve before a load")]
    loadable: Annotated[bool, Field(description="False: always resident, nothing to load")] = True
    noise: bool = False
    degraded: Annotated[bool, Field(description="rules instead of a model")] = False
    digest: str | None = None
    load_problem: Annotated[
        str | None, Field(description="why its last load failed; absent once one worked")
    ] = None


class ResidentModel(Value):
    """A model's profile on a node: one set of context, slots and cache type."""

    name: Name
    state: ModelState
    slots: int
    in_flight: int
    idle_s: float
    measured_mib: int | None = None


class NodeHeartbeat(Event):
    """A full snapshot of a node, so that any reader can rebuild its view from one beat."""

    type: ClassVar[str] = "node.heartbeat.v1"
    subject_field: ClassVar[str] = "node"
    sampled: ClassVar[bool] = True

    node: Name
    instance: str
    inventory: tuple[LocalModel, ...]
    resident: tuple[ResidentModel, ...]
    in_flight: int
    left_out: dict[Name, str] = Field(
        default_factory=dict,
        description="models that are configured and cannot be offered here, and why",
    )


class NodeLost(Event):
    """A node's heartbeats stopped; what it was doing goes elsewhere."""

    type: ClassVar[str] = "node.lost.v1"
    subject_field: ClassVar[str] = "node"

    node: Name
    silent_ms: int


class NodeReturned(Event):
    """A lost node is heard again."""

    type: ClassVar[str] = "node.returned.v1"
    subject_field: ClassVar[str] = "node"

    node: Name
