"""Embedded llama.cpp: a child process for each loaded model.

A broken GGUF kills the process that loads it, so no engine ever runs in the worker's own.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import structlog

from services.inference_worker.backends import child, openai_stream
from services.inference_worker.backends.child import Child
from services.inference_worker.backends.footprint import load_deadline_s, only_embeds
from services.inference_worker.backends.model_files import TINY_MODEL, ModelFile, ModelFiles
from services.inference_worker.backends.port import (
    BackendError,
    Call,
    Delta,
    Finished,
    Profile,
    Resident,
)
from shared.config.models import TINY, ModelConfig
from shared.events.base import Operation
from shared.events.inference import FailureReason
from shared.events.models import LocalModel

log = structlog.get_logger(__name__)

MOST_EMBED_TOKENS = 2048
"""Longest input that is embedded by a model that also writes: the batch for it costs memory."""


def is_installed() -> bool:
    """Whether this Python has llama.cpp, and the library that writes the tiny model."""
    return all(find_spec(name) is not None for name in ("xllamacpp", "gguf"))


class LlamaCpp:
    """`models`: those of the configuration that name this engine. Files go below `data`."""

    engine = "llama_cpp"

    def __init__(
        self, models: Mapping[str, ModelConfig], data: Path, *, connect_s: float = 5.0
    ) -> None:
        self._models = models
        self._files = ModelFiles(models, data / "models")
        self._logs = data / "logs"
        self._connect_s = connect_s
        self.offers_tiny = True
        """Whether the generated model is offered beside those of the configuration."""
        self._children: dict[str, Child] = {}
        self._reapers: set[asyncio.Task[None]] = set()
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def models(self) -> Sequence[LocalModel]:
        configured = await self._files.inventory()
        return [*configured, TINY_MODEL] if self.offers_tiny else configured

    def left_out(self) -> Mapping[str, str]:
        return self._files.problems

    async def resident(self) -> Sequence[Resident]:
        return [
            Resident(name, running.measured_mib, running.profile.context_tokens)
            for name, running in self._children.items()
        ]

    async def load(self, profile: Profile) -> int | None:
        async with self._turns[profile.model]:
            running = self._children.get(profile.model)
            if running is None or running.profile != profile or running.measured_mib is None:
                await self._stop(profile.model)
                running = await self._start(profile)
            return running.measured_mib

    async def unload(self, model: str) -> None:
        async with self._turns[model]:
            await self._stop(model)

    async def stream(self, call: Call) -> AsyncGenerator[Delta | Finished, None]:
        model = call.profile.model
        running = self._children.get(model)
        if running is None:
            raise BackendError(FailureReason.NOT_RESIDENT, f"{model} is not loaded on this node")
        async with aclosing(openai_stream.stream(running.http, call, model)) as items:
            async for item in items:
                yield item

    async def close(self) -> None:
        await asyncio.gather(*(self.unload(name) for name in list(self._children)))
        await asyncio.gather(*self._reapers)

    async def _start(self, profile: Profile) -> Child:
        name = profile.model
        file = await self._files.examine(name)
        loaded = await child.start(
            child.Launch(
                path=file.path,
                profile=profile,
                log=self._logs / f"llama_cpp-{quote(name, safe='')}.log",
                ready_s=load_deadline_s(file.size_bytes),
                connect_s=self._connect_s,
                options=self._options(file, profile),
            )
        )
        self._children[name] = loaded
        reaper = asyncio.create_task(self._reap(name, loaded))
        self._reapers.add(reaper)
        reaper.add_done_callback(self._reapers.discard)
        return loaded

    async def _stop(self, model: str) -> None:
        running = self._children.get(model)
        if running is not None:
            await running.stop()
            self._children.pop(model, None)

    def _options(self, file: ModelFile, profile: Profile) -> list[str]:
        options = ["--threads", "1"] if profile.model == TINY else []
        if only_embeds(file.metadata):
            return [*options, "--embed-tokens", str(profile.context_tokens)]
        settings = self._models.get(profile.model)
        if settings is None or Operation.EMBEDDING in settings.operations:
            most = min(profile.context_tokens, MOST_EMBED_TOKENS)
            # The last token of a causal model has seen the whole text. A mean over all would be
            # usual, but llama.cpp then answers otherwise when another text shares the batch.
            options += ["--embed-tokens", str(most), "--pool-last"]
        return options

    async def _reap(self, name: str, running: Child) -> None:
        """Notice that the process ended, whoever ended it."""
        status = await running.exited
        if self._children.get(name) is running:
            del self._children[name]
            if not running.is_stopping:
                log.warning("engine_died", model=name, status=status)
        await running.http.close()
