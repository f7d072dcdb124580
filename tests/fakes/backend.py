"""A backend that answers by script, in the worker's own process."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence

from services.inference_worker.backends.port import (
    BackendError,
    Call,
    Delta,
    Finished,
    Profile,
    Resident,
)
from shared.events.base import Operation
from shared.events.inference import FailureReason, Usage
from shared.events.models import LocalModel


class ScriptedBackend:
    """Repeats the last message word by word; each model name says how it behaves.

    `hang` never answers, `crash` breaks after two words, `slow` takes 0.2 s a word, any other
    name echoes at once.
    """

    engine = "scripted"

    def __init__(self, models: Sequence[str] = ("echo",), slots: int = 4) -> None:
        self.names = list(models)
        self.slots = slots
        self.loaded: set[str] = set()
        self.calls: list[Call] = []

    async def models(self) -> Sequence[LocalModel]:
        return [
            LocalModel(
                name=name,
                engine=self.engine,
                operations=tuple(Operation),
                context_tokens=4096,
                slots=self.slots,
                need_mib=100,
            )
            for name in self.names
        ]

    def left_out(self) -> Mapping[str, str]:
        return {}

    async def resident(self) -> Sequence[Resident]:
        return [Resident(name, measured_mib=100) for name in self.loaded]

    async def load(self, profile: Profile) -> int | None:
        if profile.model == "unloadable":
            raise BackendError(FailureReason.OUT_OF_MEMORY, "does not fit")
        self.loaded.add(profile.model)
        return 100

    async def unload(self, model: str) -> None:
        self.loaded.discard(model)

    async def stream(self, call: Call) -> AsyncGenerator[Delta | Finished, None]:
        self.calls.append(call)
        name = call.profile.model
        words = str(call.input["messages"][-1]["content"]).split()
        if name == "hang":
            await asyncio.Event().wait()
        for at, word in enumerate(words):
            if name == "crash" and at == 2:
                raise BackendError(FailureReason.CRASHED, "the engine is gone")
            if name == "slow":
                await asyncio.sleep(0.2)
            yield Delta(word if at == 0 else f" {word}")
        yield Finished(usage=Usage(prompt_tokens=len(words), completion_tokens=len(words)))

    async def close(self) -> None:
        self.loaded.clear()
