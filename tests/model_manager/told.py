"""A fleet of one node that is told things, one after another."""

from services.model_manager.fleet import Fleet
from services.model_manager.residency import Load, Unload
from services.model_manager.view import Held, NodeView, View
from shared.config import Config, ModelConfig
from shared.events.models import ModelState
from tests.fakes.stalls import beat, changed, device, local, resident, sample

MODELS = (local("a", 4_000), local("b", 6_000), local("rules", 0, loadable=False))
CONFIG = Config(models={"b": ModelConfig(engine="ollama", pinned=True, idle_unload_s=9)})


class Told:
    """A fleet of one node with 19 GiB of room, told things at times that the test sets."""

    def __init__(self) -> None:
        self.fleet = Fleet()
        self.now_s = 100.0
        self.at_ms = 0
        self.beats()
        self.fleet.on_sample(sample(device(20_480)))

    def beats(self, *names: str, state: ModelState = ModelState.READY, instance: str = "1") -> None:
        self.at_ms += 10
        measured_mib = 3_000 if state is ModelState.READY else None
        residents = [resident(name, state, measured_mib=measured_mib, idle_s=7.0) for name in names]
        told = beat(MODELS, residents, instance=instance)
        self.fleet.on_heartbeat(told, self.at_ms, self.now_s)

    def changes(self, model: str, state: ModelState, *, earlier_ms: int = 0, **facts: int) -> None:
        told = changed(model, state, **facts)
        self.fleet.on_state_changed(told, self.at_ms + 1 - earlier_ms, self.now_s)

    def loads(self, model: str) -> None:
        self.fleet.issued(Load("box", model, "test"), self.now_s)

    def unloads(self, model: str) -> None:
        self.fleet.issued(Unload("box", model, "test"), self.now_s)

    def view(self) -> View:
        return self.fleet.view(CONFIG, self.now_s)

    @property
    def box(self) -> NodeView:
        return self.view().nodes["box"]

    @property
    def held(self) -> dict[str, Held]:
        return dict(self.box.held)

    @property
    def free_mib(self) -> int:
        return sum(self.box.ledger.free_mib().values())
