"""Whatever happens in whatever order: no reservation is granted that memory cannot hold."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.model_manager.ledger import Ledger, OverCommitError, margin_mib
from tests.fakes.stalls import device

TOTALS_MIB = (24_000, 16_000)
FOREIGN_MIB = st.tuples(st.integers(0, 12_000), st.integers(0, 12_000))
MODELS = st.sampled_from(["a", "b", "c", "d"])


class Cards(RuleBasedStateMachine):
    """Two real cards beside the ledger, which knows of them only what samples say."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.foreign_mib = [0, 0]
        self.loaded: dict[str, dict[str, int]] = {}
        """What each settled model really takes, by card."""

    @initialize(foreign=FOREIGN_MIB)
    def first_sample(self, foreign: tuple[int, int]) -> None:
        self.sample(foreign)

    @rule(foreign=FOREIGN_MIB)
    def sample(self, foreign: tuple[int, int]) -> None:
        """Foreign programs may take what is left, and a sample sees them and the loaded models."""
        devices = []
        for card, total_mib in enumerate(TOTALS_MIB):
            ours_mib = sum(parts.get(f"gpu-{card}", 0) for parts in self.loaded.values())
            self.foreign_mib[card] = min(foreign[card], total_mib - ours_mib)
            used_mib = ours_mib + self.foreign_mib[card]
            devices.append(device(total_mib, used_mib, f"gpu-{card}"))
        self.ledger.observe(devices)

    @rule(model=MODELS, need_mib=st.integers(0, 20_000))
    def reserve(self, model: str, need_mib: int) -> None:
        try:
            self.ledger.reserve(model, need_mib)
        except OverCommitError:
            return
        for card, total_mib in enumerate(TOTALS_MIB):
            promised_mib = sum(
                self.ledger.parts(each).get(f"gpu-{card}", 0) for each in self.ledger.models
            )
            if self.ledger.parts(model).get(f"gpu-{card}"):
                limit_mib = total_mib - margin_mib(device(total_mib))
                assert self.foreign_mib[card] + promised_mib <= limit_mib

    @rule(model=MODELS, share=st.floats(0.1, 1.0))
    def finish_loading(self, model: str, share: float) -> None:
        if model in self.ledger.models and model not in self.loaded:
            measured_mib = int(self.ledger.held_mib(model) * share)
            self.ledger.settle(model, measured_mib)
            self.loaded[model] = dict(self.ledger.parts(model))

    @rule(model=MODELS)
    def unload(self, model: str) -> None:
        self.ledger.release(model)
        self.loaded.pop(model, None)

    @invariant()
    def nothing_is_freer_than_empty(self) -> None:
        for card, total_mib in enumerate(TOTALS_MIB):
            free_mib = self.ledger.free_mib().get(f"gpu-{card}", 0)
            assert 0 <= free_mib <= total_mib - margin_mib(device(total_mib))

    @invariant()
    def room_grows_when_models_are_left_out(self) -> None:
        for model in self.ledger.models:
            with_it, without_it = self.ledger.free_mib(), self.ledger.free_mib(without=[model])
            assert all(without_it[card] >= with_it[card] for card in with_it)


TestCards = Cards.TestCase
TestCards.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
