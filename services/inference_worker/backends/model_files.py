"""The GGUF files that this node can load: those of the configuration, and the generated one."""

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from services.inference_worker.backends.footprint import (
    need_mib,
    only_embeds,
    trained_context_tokens,
)
from services.inference_worker.backends.gguf_metadata import NotGgufError, read_metadata
from services.inference_worker.backends.port import BackendError
from shared.config.models import TINY, ModelConfig
from shared.events.base import Operation
from shared.events.inference import FailureReason
from shared.events.models import LocalModel

log = structlog.get_logger(__name__)

GENERATOR = Path(__file__).parent.parent / "tiny_model.py"
TINY_FILE = "tiny-1.gguf"
"""The number changes with what the generator writes."""

TINY_MODEL = LocalModel(
    name=TINY,
    engine="llama_cpp",
    operations=tuple(Operation),
    context_tokens=16_384,  # a token is a letter: enough for a text of some pages
    slots=2,
    need_mib=128,  # measured: 98
    noise=True,
)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model file as it was when it was last examined."""

    path: Path
    size_bytes: int
    """Of all its parts, where it is split into several files."""
    modified_ns: int
    metadata: dict[str, Any]


class ModelFiles:
    """`models`: those of the configuration. The generated one is written below `folder`."""

    def __init__(self, models: Mapping[str, ModelConfig], folder: Path) -> None:
        self._settings = {
            name: settings for name, settings in models.items() if settings.path is not None
        }
        self._tiny = folder / TINY_FILE
        self._known: dict[Path, ModelFile] = {}
        self.problems: dict[str, str] = {}
        """What the last inventory left out, and why."""
        self._generating = asyncio.Lock()

    async def inventory(self) -> list[LocalModel]:
        """What could be loaded, but for the generated model. A file that is missing or broken is
        left out, with a warning."""
        found: list[LocalModel] = []
        for name, settings in self._settings.items():
            try:
                found.append(_described(name, settings, await self.examine(name)))
                self.problems.pop(name, None)
            except BackendError as error:
                self._warn_once(name, str(error))
        return found

    async def examine(self, name: str) -> ModelFile:
        """The model's file, generated where it is the generated one. Raise `REFUSED` where it
        cannot be read."""
        if name == TINY:
            await self._generate()
            return await self._read(name, self._tiny)
        settings = self._settings.get(name)
        if settings is None or settings.path is None:
            raise BackendError(
                FailureReason.REFUSED,
                f"{name} is no llama_cpp model of this node; add it to roundhouse.yaml",
            )
        return await self._read(name, Path(settings.path))

    async def _read(self, name: str, path: Path) -> ModelFile:
        try:
            file = await asyncio.to_thread(_examined, path, self._known.get(path))
        except (OSError, RuntimeError, NotGgufError) as error:
            raise BackendError(
                FailureReason.REFUSED,
                f"{path} cannot be read for {name}: {_cause(error)};"
                f" correct models.{name}.path, or fetch the file again",
            ) from error
        self._known[path] = file
        return file

    async def _generate(self) -> None:
        async with self._generating:
            if await asyncio.to_thread(self._tiny.exists):
                return
            # In a process of its own, which keeps NumPy out of this one.
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", GENERATOR, self._tiny),
                stderr=asyncio.subprocess.PIPE,
            )
            _, complaint = await process.communicate()
            if process.returncode != 0:
                last = complaint.decode(errors="replace").strip().splitlines()[-1:]
                raise BackendError(
                    FailureReason.REFUSED,
                    f"the tiny model cannot be generated at {self._tiny}: {''.join(last)}",
                )

    def _warn_once(self, name: str, problem: str) -> None:
        if self.problems.get(name) != problem:
            self.problems[name] = problem
            log.warning("model_left_out", model=name, problem=problem)


def _cause(error: Exception) -> str:
    match error:
        case NotGgufError():
            return f"the file {error}"
        case OSError(strerror=str(said)):
            return said
    return str(error)


def _examined(path: Path, known: ModelFile | None) -> ModelFile:
    path = path.expanduser()
    status = path.stat()
    if known and known.modified_ns == status.st_mtime_ns:
        return known
    metadata = read_metadata(path)
    parts = int(metadata.get("split.count") or 1)
    end = f"-of-{parts:05}.gguf"
    siblings = [path]
    if parts > 1 and path.name.endswith(end):
        stem = path.name.removesuffix(end)[:-5]
        siblings = [path.with_name(f"{stem}{part:05}{end}") for part in range(1, parts + 1)]
    size_bytes = sum(sibling.stat().st_size for sibling in siblings)
    return ModelFile(path, size_bytes, status.st_mtime_ns, metadata)


def _described(name: str, settings: ModelConfig, file: ModelFile) -> LocalModel:
    trained = trained_context_tokens(file.metadata) or settings.context_tokens
    context_tokens = min(settings.context_tokens, trained)
    embeds = only_embeds(file.metadata)
    return LocalModel(
        name=name,
        engine="llama_cpp",
        operations=(Operation.EMBEDDING,) if embeds else settings.operations,
        context_tokens=context_tokens,
        slots=settings.slots,
        need_mib=settings.need_mib
        or need_mib(file.size_bytes, file.metadata, context_tokens, settings.slots),
    )
