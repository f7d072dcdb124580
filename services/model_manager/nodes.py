"""What is known of one node, from its beats, its samples and the commands it was sent. Pure."""

import math
from dataclasses import dataclass, field

from services.model_manager.ledger import Ledger
from services.model_manager.view import LEAVING, SERVING, Held, NodeView, Offer
from shared.config import IDLE_UNLOAD_S, Config
from shared.events.models import (
    LocalModel,
    ModelState,
    ModelStateChanged,
    NodeHeartbeat,
    ResidentModel,
)

REISSUE_S = 10.0
"""A command that no beat shows any trace of by then was interrupted, and is decided on again."""

BACKOFF_S, BACKOFF_CAP_S = 5.0, 300.0
"""Pause after a failed load, doubling with each further one."""

LOAD_START_S, LOAD_MIB_PER_S = 1.5, 2500.0
"""Guess at a load's duration until one was measured: process start, then a fast disk."""

GONE = ModelState.UNLOADED


@dataclass(frozen=True, slots=True)
class _Pending:
    state: ModelState
    """As which the model counts until a beat or a change says what became of the command."""
    issued_at_s: float


@dataclass(slots=True)
class Node:
    """Times are seconds of the manager's monotonic clock; `_ms` are the store's."""

    name: str
    heard_at_s: float = -math.inf
    ledger: Ledger = field(default_factory=Ledger)
    inventory: dict[str, LocalModel] = field(default_factory=dict)
    """What it could load and unload; what is always resident is nobody's to decide."""
    _instance: str = ""
    _beat_ms: int = 0
    _resident: dict[str, ResidentModel] = field(default_factory=dict)
    _pending: dict[str, _Pending] = field(default_factory=dict)
    _ready_since_s: dict[str, float] = field(default_factory=dict)
    _load_s: dict[str, float] = field(default_factory=dict)
    _failures: dict[str, tuple[int, float]] = field(default_factory=dict)

    def on_heartbeat(self, beat: NodeHeartbeat, at_ms: int, now_s: float) -> None:
        """Take a full snapshot; all that it does not confirm is forgotten."""
        loading = self._loading()
        if beat.instance != self._instance:
            self._instance = beat.instance
            self._pending.clear()
            loading = set()
        self._beat_ms = at_ms
        self.heard_at_s = now_s
        before = self.inventory
        self.inventory = {model.name: model for model in beat.inventory if model.loadable}
        for name in before.keys() & self.inventory.keys():
            if before[name].load_problem and not self.inventory[name].load_problem:
                self.forgive(name)
        self._resident = {
            model.name: model
            for model in beat.resident
            if model.name in self.inventory and model.state is not GONE
        }
        self._pending = {
            model: pending
            for model, pending in self._pending.items()
            if model in self.inventory and not self._is_over(model, pending, now_s)
        }
        for model in loading - {*self._resident}:
            self._failed(model, now_s)
        self._reconcile(now_s)

    def on_lost(self) -> None:
        """What was commanded went with it; the next beat says what is left."""
        self.heard_at_s = -math.inf
        self._pending.clear()

    def on_state_changed(self, change: ModelStateChanged, at_ms: int, now_s: float) -> None:
        """Take a change between two beats, unless the last beat is younger."""
        model = change.model
        if change.load_ms is not None:
            self._load_s[model] = change.load_ms / 1000
        if model not in self.inventory:
            return
        if change.state is GONE and self.state(model) is ModelState.LOADING:
            self._pending.pop(model, None)
            self._failed(model, now_s)
        if at_ms < self._beat_ms:
            self._reconcile(now_s)
            return
        self._pending.pop(model, None)
        if change.state is GONE:
            self._resident.pop(model, None)
        else:
            known = self._resident.get(model)
            self._resident[model] = ResidentModel(
                name=model,
                state=change.state,
                slots=self.inventory[model].slots,
                in_flight=known.in_flight if known else 0,
                idle_s=0.0,
                measured_mib=change.measured_mib or (known.measured_mib if known else None),
            )
        self._reconcile(now_s)

    def issued_load(self, model: str, now_s: float) -> None:
        """Reserve for a load that is commanded now. Raise `OverCommitError` without room."""
        self.ledger.reserve(model, self.inventory[model].need_mib)
        self._pending[model] = _Pending(ModelState.LOADING, now_s)

    def issued_unload(self, model: str, now_s: float) -> None:
        """From now on the model counts as leaving."""
        self._pending[model] = _Pending(ModelState.DRAINING, now_s)

    def forgive(self, model: str) -> None:
        """It may be loaded again: somebody asks for it, or what was wrong has changed."""
        self._failures.pop(model, None)

    def state(self, model: str) -> ModelState:
        if model in self._pending:
            return self._pending[model].state
        return self._resident[model].state if model in self._resident else GONE

    def holds(self, model: str) -> bool:
        return model in self._resident or model in self._pending

    def view(self, config: Config, now_s: float) -> NodeView:
        self.ledger.budget_mib = config.node(self.name).memory_mib
        offers = {name: self._offered(model) for name, model in self.inventory.items()}
        names = {*self._resident, *self._pending}
        held = {name: self._held(name, config, now_s) for name in names}
        return NodeView(self.name, self.ledger, offers, held)

    def _held(self, name: str, config: Config, now_s: float) -> Held:
        model = self._resident.get(name)
        settings = config.models.get(name)
        return Held(
            model=name,
            state=self.state(name),
            in_flight=model.in_flight if model else 0,
            idle_since_s=self.heard_at_s - model.idle_s if model else now_s,
            ready_since_s=self._ready_since_s.get(name, now_s),
            held_mib=self.ledger.held_mib(name),
            load_s=self._duration_s(name),
            idle_unload_s=settings.idle_unload_s if settings else IDLE_UNLOAD_S,
            pinned=settings is not None and settings.pinned,
        )

    def _offered(self, model: LocalModel) -> Offer:
        failures, not_before_s = self._failures.get(model.name, (0, 0.0))
        return Offer(
            model.name,
            model.need_mib,
            self._duration_s(model.name),
            not_before_s,
            failures,
            model.load_problem or "",
        )

    def _duration_s(self, model: str) -> float:
        guess_s = LOAD_START_S + self.inventory[model].need_mib / LOAD_MIB_PER_S
        return self._load_s.get(model, guess_s)

    def _failed(self, model: str, now_s: float) -> None:
        times, _ = self._failures.get(model, (0, 0.0))
        pause_s = min(BACKOFF_CAP_S, BACKOFF_S * 2.0 ** min(times, 10))
        self._failures[model] = (times + 1, now_s + pause_s)

    def _loading(self) -> set[str]:
        """Models whose load the node itself has announced."""
        return {
            name
            for name, resident in self._resident.items()
            if resident.state is ModelState.LOADING
        }

    def _is_over(self, model: str, pending: _Pending, now_s: float) -> bool:
        """Begun, so that the node itself says what became of it; or interrupted."""
        state = self._resident[model].state if model in self._resident else GONE
        begun = SERVING if pending.state is ModelState.LOADING else {*LEAVING, GONE}
        return state in begun or now_s - pending.issued_at_s >= REISSUE_S

    def _reconcile(self, now_s: float) -> None:
        """Make the ledger hold what the node holds or was told to load, and nothing else."""
        for model in self.ledger.models:
            if not self.holds(model):
                self.ledger.release(model)
                self._ready_since_s.pop(model, None)
        for name, resident in self._resident.items():
            if name not in self.ledger:
                held_mib = resident.measured_mib or self.inventory[name].need_mib
                self.ledger.adopt(name, held_mib)
            if resident.state is not ModelState.LOADING:
                self.ledger.settle(name, resident.measured_mib)
                self._ready_since_s.setdefault(name, now_s - resident.idle_s)
            if resident.state is ModelState.READY:
                self._failures.pop(name, None)
