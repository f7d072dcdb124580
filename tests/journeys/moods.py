"""Engines in moods that the scripted backend does not have."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from services.inference_worker.backends.port import Call, Delta, Finished
from shared.service import Service
from tests.fakes.backend import ScriptedBackend
from tests.fakes.processes import scripted_worker


class MoodyBackend(ScriptedBackend):
    """`stall` says two words and no more; `bug` breaks in a way that no engine should."""

    async def stream(self, call: Call) -> AsyncGenerator[Delta | Finished, None]:
        if call.profile.model == "bug":
            raise RuntimeError("the engine's own code is broken")
        if call.profile.model == "stall":
            yield Delta("once")
            yield Delta(" upon")
            await asyncio.Event().wait()
        async for piece in super().stream(call):
            yield piece


def moody(*, models: tuple[str, ...], slots: int = 4, **settings: Any) -> Service:
    backend = MoodyBackend(models, slots)
    backend.loaded.update(models)
    return scripted_worker(backend, **settings)
