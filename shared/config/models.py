"""The configuration's models. Every default that Roundhouse has is written here."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StrictBool, field_validator, model_validator

from shared.config.endpoints import EndpointConfig
from shared.config.section import Count, Seconds, Section, Text, VariableName, http_address
from shared.config.stores import AuditConfig, StoresConfig
from shared.events.base import LOCAL, Name, Operation, Priority

ANY = "any"
"""Chain entry: every real model that a live node offers and that can do the operation."""

TINY = "tiny"
"""Chain entry: the generated test model, whose text is noise."""

AUTO = "auto"
"""Instead of a model's name: the router chooses."""

TASK_PREFIX = "task/"
"""Start of a model's name that names a task."""

HEURISTIC_PREFIX = "heuristic:"
"""Start of a chain entry that names rules instead of a model."""

IDLE_UNLOAD_S = 300.0
"""For how long a model that nobody configured may be idle before it is unloaded."""

RESERVED_NAMES = frozenset({ANY, TINY, AUTO})
RESERVED_PREFIXES = (HEURISTIC_PREFIX, TASK_PREFIX)


def _is_free(name: str) -> str:
    if name in RESERVED_NAMES or name.startswith(RESERVED_PREFIXES):
        raise ValueError("is a reserved name; call that model something else")
    return name


ModelName = Annotated[Name, AfterValidator(_is_free)]


def _is_a_producer(name: str) -> str:
    if name == LOCAL:
        raise ValueError("is who writes the shared stream; call that producer something else")
    return name


ProducerName = Annotated[Name, AfterValidator(_is_a_producer)]


class EngineConfig(Section):
    """An engine that answers at a URL beside a node's worker."""

    kind: Literal["ollama", "openai"]
    url: str
    api_key_env: VariableName | None = None
    """Name of the environment variable, on that node, that holds the key."""

    @field_validator("url")
    @classmethod
    def _is_plain_http(cls, url: str) -> str:
        parts = http_address(url)
        if parts is None:
            raise ValueError("is not an address; write it like http://127.0.0.1:11434")
        if parts.username or parts.password or parts.query:
            raise ValueError(
                "must not carry a user, a key or a query; name the key's variable in api_key_env"
            )
        return url.rstrip("/")


class NodeConfig(Section):
    """A machine with engines."""

    memory_mib: Count | None = None
    """Budget for models; None: what vram-monitor measures, less a margin."""
    discover: StrictBool = True
    """Look for engines on their usual local ports."""
    engines: tuple[EngineConfig, ...] = ()


class ModelConfig(Section):
    """A model, and the one profile in which it is loaded."""

    engine: Literal["llama_cpp", "ollama", "openai"]
    path: Text | None = None
    """llama_cpp: the GGUF file, on the node; `~` is the home of the node's worker."""
    source: Text | None = None
    """ollama, openai: the engine's own name for it; None: the same name."""
    context_tokens: Count = 8192
    """Per slot."""
    slots: Count = 2
    operations: tuple[Operation, ...] = (Operation.CHAT, Operation.COMPLETION)
    need_mib: Count | None = None
    """Memory to reserve before a load; None: estimated."""
    pinned: StrictBool = False
    idle_unload_s: Seconds = IDLE_UNLOAD_S

    @model_validator(mode="after")
    def _names_its_weights(self) -> "ModelConfig":
        if self.engine == "llama_cpp" and self.path is None:
            raise ValueError("needs path: the GGUF file that llama_cpp loads")
        if self.engine != "llama_cpp" and self.path is not None:
            raise ValueError(f"has a path, which {self.engine} does not take; use source")
        if self.engine == "llama_cpp" and self.source is not None:
            raise ValueError("has a source, which llama_cpp does not take; use path")
        if not self.operations:
            raise ValueError("can do nothing; name its operations or leave the key out")
        return self


class HeuristicRule(Section):
    """Answers `label` where the text contains any of the words."""

    label: Text
    any_of: tuple[Text, ...]


class HeuristicConfig(Section):
    """Rules that answer without a model; the rule with most matches wins, of equals the first."""

    default: Text
    rules: tuple[HeuristicRule, ...]


class TaskConfig(Section):
    """What a request may ask for by name instead of by model."""

    chain: tuple[Name, ...]
    """Candidates, best first: model names, `any`, `tiny` or `heuristic:<name>`."""
    priority: Priority = Priority.NORMAL
    operation: Operation = Operation.CHAT


class PriorityConfig(Section):
    deadline_s: Seconds
    wait_bound_s: Seconds
    """How long others' affinity may make a request of this class wait."""
    backlog: Count
    """Requests of this class that may wait."""


class AttemptLimits(Section):
    """Bounds on the attempts of one request, and on one attempt's clocks."""

    limit: Count = 3
    total_s: Seconds = 300.0
    first_token_s: Seconds = 120.0
    between_tokens_s: Seconds = 60.0
    connect_s: Seconds = 5.0


class Timing(Section):
    """Heartbeats and leases: who counts as alive, and for how long."""

    heartbeat_s: Seconds = 2.0
    node_lost_s: Seconds = 6.0
    flight_lease_s: Seconds = 6.0
    flight_beat_s: Seconds = 2.0
    router_lease_s: Seconds = 2.0
    router_renew_s: Seconds = 0.5
    claim_idle_s: Seconds = 15.0
    claim_beat_s: Seconds = 5.0


def _rule(label: str, *words: str) -> HeuristicRule:
    return HeuristicRule(label=label, any_of=words)


DEFAULT_HEURISTICS = {
    "tickets": HeuristicConfig(
        default="other",
        rules=(
            _rule("outage", "outage", "is down", "unavailable", "offline", "not responding", "503"),
            _rule("feature", "feature request", "would be nice", "would be great", "please add"),
            _rule("billing", "invoice", "refund", "charged", "billing", "payment", "receipt"),
            _rule("login", "password", "log in", "login", "sign in", "locked out", "two-factor"),
        ),
    )
}

DEFAULT_TASKS = {
    "chat": TaskConfig(chain=(ANY, TINY)),
    "assess": TaskConfig(chain=(ANY, TINY), priority=Priority.HIGH),
    "report": TaskConfig(chain=(ANY, TINY)),
    "summarise": TaskConfig(chain=(ANY, TINY)),
    "classify": TaskConfig(chain=(ANY, f"{HEURISTIC_PREFIX}tickets")),
    "complete": TaskConfig(chain=(ANY, TINY), operation=Operation.COMPLETION),
    "embed": TaskConfig(chain=(ANY, TINY), operation=Operation.EMBEDDING),
}

DEFAULT_PRIORITIES = {
    Priority.CRITICAL: PriorityConfig(deadline_s=60.0, wait_bound_s=2.0, backlog=1_000),
    Priority.HIGH: PriorityConfig(deadline_s=300.0, wait_bound_s=15.0, backlog=10_000),
    Priority.NORMAL: PriorityConfig(deadline_s=900.0, wait_bound_s=120.0, backlog=100_000),
    Priority.LOW: PriorityConfig(deadline_s=86_400.0, wait_bound_s=1_800.0, backlog=1_000_000),
}


class Config(Section):
    """All of roundhouse.yaml. `Config()` is what holds where nothing was configured.

    Tasks and heuristics are added to the built-in ones, and replace those of the same name;
    a priority that names some of its bounds keeps the default of the others.
    """

    version: Literal[1] = 1
    stores: StoresConfig = StoresConfig()
    nodes: dict[Name, NodeConfig] = Field(default_factory=dict)
    models: dict[ModelName, ModelConfig] = Field(default_factory=dict)
    heuristics: dict[Name, HeuristicConfig] = Field(default_factory=lambda: {**DEFAULT_HEURISTICS})
    tasks: dict[Name, TaskConfig] = Field(default_factory=lambda: {**DEFAULT_TASKS})
    default_task: Name = "chat"
    priorities: dict[Priority, PriorityConfig] = Field(
        default_factory=lambda: {**DEFAULT_PRIORITIES}
    )
    attempts: AttemptLimits = AttemptLimits()
    audit: AuditConfig = AuditConfig()
    timing: Timing = Timing()
    endpoints: dict[Name, EndpointConfig] = Field(default_factory=dict)
    producers: tuple[ProducerName, ...] = ()
    """Who has an inbox of its own, `inference.requested.v1:<name>`, and so a principal's name."""

    @field_validator("heuristics", mode="before")
    @classmethod
    def _adds_built_in_heuristics(cls, given: Any) -> Any:
        return {**DEFAULT_HEURISTICS, **given} if isinstance(given, dict) else given

    @field_validator("tasks", mode="before")
    @classmethod
    def _adds_built_in_tasks(cls, given: Any) -> Any:
        return {**DEFAULT_TASKS, **given} if isinstance(given, dict) else given

    @field_validator("priorities", mode="before")
    @classmethod
    def _adds_default_bounds(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        merged: dict[Any, Any] = {**DEFAULT_PRIORITIES}
        for name, bounds in given.items():
            default = DEFAULT_PRIORITIES.get(name)
            if default is not None and isinstance(bounds, dict):
                bounds = {**default.model_dump(), **bounds}
            merged[name] = bounds
        return merged

    def node(self, name: str) -> NodeConfig:
        """The node's own settings, or the defaults where it is not named."""
        return self.nodes.get(name, NodeConfig())
