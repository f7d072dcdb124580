"""What the engines of a node offer, and what is wrong with it."""

from collections.abc import Iterable, Sequence

from services.inference_worker.backends.port import Backend
from shared.events.models import LocalModel

LONGEST_PROBLEM = 300
"""Characters of a heartbeat for what is wrong with one model."""

Answer = tuple[Backend, Sequence[LocalModel]]


class Offers(dict[str, tuple[LocalModel, Backend]]):
    """By model, with the engine that serves it; of several the first."""

    def __init__(self) -> None:
        super().__init__()
        self.left_out: dict[str, str] = {}
        """What is configured and no engine here offers, and why."""
        self._problems: dict[str, str] = {}

    @property
    def inventory(self) -> tuple[LocalModel, ...]:
        return tuple(
            local.model_copy(update={"load_problem": self._problems[name]})
            if name in self._problems
            else local
            for name, (local, _) in self.items()
        )

    def take(self, answers: Iterable[Answer]) -> bool:
        """What all engines have just answered; True where that is news."""
        answers = list(answers)
        before = (self.inventory, self.left_out)
        self.clear()
        for backend, local_models in answers:
            for local in local_models:
                self.setdefault(local.name, (local, backend))
        self.left_out = self._missing(backend for backend, _ in answers)
        return (self.inventory, self.left_out) != before

    def of(self, backend: Backend) -> list[LocalModel]:
        return [local for local, owner in self.values() if owner is backend]

    def load_failed(self, model: str, problem: str) -> None:
        """Keep the cause until a load works or the engines change."""
        self._problems[model] = problem[:LONGEST_PROBLEM]

    def load_worked(self, model: str) -> None:
        self._problems.pop(model, None)

    def forget_problems(self) -> None:
        self._problems.clear()

    def _missing(self, backends: Iterable[Backend]) -> dict[str, str]:
        """Where several engines do not have a model, each says so in its words."""
        found: dict[str, str] = {}
        for backend in backends:
            for name, why in backend.left_out().items():
                if name not in self:
                    said = f"{found[name]}; {why}" if name in found else why
                    found[name] = said[:LONGEST_PROBLEM]
        return found
