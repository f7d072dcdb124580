"""Nodes as they really are: what a manager learns of them only by beats and samples."""

from dataclasses import dataclass, field

from services.model_manager.ledger import margin_mib
from services.model_manager.residency import Command, Load
from shared.events.gpu import Device, GpuSampled
from shared.events.models import LocalModel, ModelState, NodeHeartbeat, ResidentModel
from tests.fakes.stalls import beat, device, resident, sample


@dataclass
class Worker:
    """One node with one card. Loads and unloads go on when the test says so."""

    name: str
    total_mib: int
    inventory: tuple[LocalModel, ...]
    foreign_mib: int = 0
    instance: int = 1
    states: dict[str, ModelState] = field(default_factory=dict)
    in_flight: dict[str, int] = field(default_factory=dict)
    idle_since_s: dict[str, float] = field(default_factory=dict)

    @property
    def card(self) -> Device:
        """As a sample finds it: what a load under way takes does not show yet."""
        shown = [model for model, state in self.states.items() if state is not ModelState.LOADING]
        used_mib = self.foreign_mib + sum(map(self.need_mib, shown))
        return device(self.total_mib, min(self.total_mib, used_mib))

    @property
    def free_mib(self) -> int:
        """As it really is; negative where foreign programs took more than was left."""
        ours_mib = sum(map(self.need_mib, self.states))
        return self.total_mib - margin_mib(self.card) - self.foreign_mib - ours_mib

    def need_mib(self, model: str) -> int:
        return next(local.need_mib for local in self.inventory if local.name == model)

    def take(self, command: Command, now_s: float) -> None:
        if isinstance(command, Load):
            assert command.model not in self.states, f"{command} of a model that is there"
            self.states[command.model] = ModelState.LOADING
            self.in_flight[command.model] = 0
            self.idle_since_s[command.model] = now_s
        elif self.states.get(command.model) is ModelState.READY:
            self.states[command.model] = ModelState.DRAINING

    def go_on(self, now_s: float, fails: bool = False) -> None:
        """Every load ends, well or badly, and every drain without work in flight."""
        for model, state in [*self.states.items()]:
            if state is ModelState.LOADING and not fails:
                self.states[model] = ModelState.READY
                self.idle_since_s[model] = now_s
            elif state is ModelState.LOADING or (
                state is ModelState.DRAINING and not self.in_flight[model]
            ):
                del self.states[model]

    def serve(self, model: str) -> None:
        if self.states.get(model) is ModelState.READY:
            self.in_flight[model] += 1

    def finish(self, model: str, now_s: float) -> None:
        if model in self.states and self.in_flight[model]:
            self.in_flight[model] -= 1
            self.idle_since_s[model] = now_s

    def restart(self) -> None:
        self.states.clear()
        self.instance += 1

    def beat(self, now_s: float) -> NodeHeartbeat:
        residents = [self._resident(model, state, now_s) for model, state in self.states.items()]
        return beat(
            self.inventory, residents, name=self.name, instance=f"{self.name}-{self.instance}"
        )

    def sample(self) -> GpuSampled:
        return sample(self.card, name=self.name)

    def _resident(self, model: str, state: ModelState, now_s: float) -> ResidentModel:
        idle_s = 0.0 if self.in_flight[model] else now_s - self.idle_since_s[model]
        return resident(model, state, in_flight=self.in_flight[model], idle_s=idle_s)
