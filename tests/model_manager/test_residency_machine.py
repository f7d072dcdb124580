"""The manager's whole knowledge and decision against nodes that fail, restart and lose commands."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from services.model_manager.fleet import Fleet
from services.model_manager.residency import Load, Unload, decide
from shared.config import Config, ModelConfig
from shared.events.base import Priority
from shared.events.models import ModelDemand, ModelState
from tests.fakes.stalls import local
from tests.fakes.workers import Worker

INVENTORY = (local("a", 6_000), local("b", 9_000), local("c", 4_000), local("d", 13_000))
CONFIG = Config(models={"c": ModelConfig(engine="llama_cpp", path="c.gguf", pinned=True)})

NODES = st.sampled_from(["one", "two"])
MODELS = st.sampled_from([model.name for model in INVENTORY])


class Cluster(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1_000.0
        self.at_ms = 0
        self.fleet = Fleet()
        self.workers = {
            "one": Worker("one", 16_000, INVENTORY),
            "two": Worker("two", 12_000, INVENTORY),
        }

    @initialize()
    def first_words(self) -> None:
        for name in self.workers:
            self.beat(name)
            self.sample(name, 0)

    @rule(waiting=st.dictionaries(MODELS, st.integers(0, 9)), wait_s=st.floats(0, 500))
    def demand(self, waiting: dict[str, int], wait_s: float) -> None:
        demands = [
            ModelDemand(model=model, waiting={Priority.HIGH: count}, oldest_wait_s=wait_s)
            for model, count in waiting.items()
        ]
        self.fleet.on_demand(demands, self.now_s)

    @rule(model=MODELS, node=st.one_of(st.none(), NODES))
    def ask(self, model: str, node: str | None) -> None:
        self.fleet.ask(model, node, self.now_s)

    @rule(seconds=st.floats(0.1, 400))
    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds

    @rule(name=NODES, fails=st.booleans())
    def go_on(self, name: str, fails: bool) -> None:
        self.workers[name].go_on(self.now_s, fails)

    @rule(name=NODES, model=MODELS)
    def serve(self, name: str, model: str) -> None:
        self.workers[name].serve(model)

    @rule(name=NODES, model=MODELS)
    def finish(self, name: str, model: str) -> None:
        self.workers[name].finish(model, self.now_s)

    @rule(name=NODES)
    def restart(self, name: str) -> None:
        self.workers[name].restart()

    @rule(name=NODES)
    def beat(self, name: str) -> None:
        self.at_ms += 1
        self.fleet.on_heartbeat(self.workers[name].beat(self.now_s), self.at_ms, self.now_s)

    @rule(name=NODES, foreign_mib=st.integers(0, 5_000))
    def sample(self, name: str, foreign_mib: int) -> None:
        worker = self.workers[name]
        worker.foreign_mib = foreign_mib
        self.fleet.on_sample(worker.sample())

    @rule()
    def another_leads(self) -> None:
        """It knows nothing, and acts on no node before it has heard and measured it."""
        self.fleet = Fleet()

    @rule(are_lost=st.booleans())
    def tick(self, are_lost: bool) -> None:
        view = self.fleet.view(CONFIG, self.now_s)
        for command in decide(view, self.now_s):
            held = view.nodes[command.node].held.get(command.model)
            self.fleet.issued(command, self.now_s)
            worker = self.workers[command.node]
            if isinstance(command, Unload):
                assert held is not None
                assert (held.state, held.in_flight) == (ModelState.READY, 0)
                assert not held.pinned
            if not are_lost:
                worker.take(command, self.now_s)
                if isinstance(command, Load):
                    assert worker.free_mib >= 0
                    assert [*worker.states.values()].count(ModelState.LOADING) == 1


TestCluster = Cluster.TestCase
TestCluster.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


def test_everything_that_waits_is_loaded_in_its_turn() -> None:
    """One card holds any of the models but no two of the larger ones."""
    worker = Worker("one", 16_000, INVENTORY)
    fleet = Fleet()
    loaded: list[str] = []
    demands = {
        model.name: ModelDemand(model=model.name, waiting={Priority.NORMAL: 1}, oldest_wait_s=1.0)
        for model in INVENTORY
    }
    for step in range(1_000):
        now_s = float(step)
        worker.go_on(now_s)
        for model in worker.states:
            if worker.states[model] is ModelState.READY and demands.pop(model, None):
                loaded.append(model)
        fleet.on_heartbeat(worker.beat(now_s), step, now_s)
        fleet.on_sample(worker.sample())
        fleet.on_demand(demands.values(), now_s)
        for command in decide(fleet.view(Config(), now_s), now_s):
            fleet.issued(command, now_s)
            worker.take(command, now_s)

    assert sorted(loaded) == ["a", "b", "c", "d"]
    assert worker.states == {}
