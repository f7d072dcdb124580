"""What the worker needs of an engine, whichever it is."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from shared.events.base import Operation
from shared.events.inference import FailureReason, Usage
from shared.events.models import LocalModel


@dataclass(frozen=True, slots=True)
class Profile:
    """How a model is loaded: one per model and node, so that no client makes an engine reload."""

    model: str
    context_tokens: int
    """Context per slot, in tokens."""
    slots: int


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt, as handed to an engine."""

    profile: Profile
    operation: Operation
    input: dict[str, Any]
    """Body of an OpenAI request: `messages`, `prompt` or `input`, and its parameters."""
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the answer, as soon as the engine said it."""

    content: str = ""
    extra: dict[str, Any] | None = None
    """Other keys of an OpenAI delta, such as `tool_calls` or `reasoning_content`."""


def joined(said: Iterable[tuple[str, dict[str, Any] | None]]) -> list[Delta]:
    """Deltas for texts and what came beside them: neighbouring pieces of text as one, so that a
    slow reader gets few large ones."""
    deltas: list[Delta] = []
    text: list[str] = []
    for content, extra in said:
        if content:
            text.append(content)
        if extra:
            deltas.append(Delta("".join(text), extra))
            text.clear()
    if text:
        deltas.append(Delta("".join(text)))
    return deltas


@dataclass(frozen=True, slots=True)
class Finished:
    """The engine's own account of a finished call. Always the last item of a stream."""

    finish_reason: str = "stop"
    usage: Usage = field(default_factory=Usage)
    load_ms: int | None = None
    prefill_ms: float | None = None
    decode_ms: float | None = None
    embeddings: list[list[float]] | None = None


@dataclass(frozen=True, slots=True)
class Resident:
    """A model that the engine says it holds."""

    model: str
    measured_mib: int | None = None
    context_tokens: int | None = None


class BackendError(Exception):
    """An attempt, a load or an unload that did not work, told apart by its reason."""

    def __init__(
        self, reason: FailureReason, message: str, *, tokens_needed: int | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.tokens_needed = tokens_needed


class Backend(Protocol):
    """An engine on this node. Every method may raise `BackendError`."""

    engine: str
    """Kind of engine: `llama_cpp`, `openai`, `ollama` or `heuristic`."""

    async def models(self) -> Sequence[LocalModel]:
        """All that this engine could serve; asked every few seconds."""
        ...

    def left_out(self) -> Mapping[str, str]:
        """Configured models that the last `models` did not find, by name, and why. Empty while
        the engine is away: that says nothing of its models."""
        ...

    async def resident(self) -> Sequence[Resident]:
        """All that it holds in memory now."""
        ...

    async def load(self, profile: Profile) -> int | None:
        """Make the model resident; return its measured size in MiB, where the engine tells."""
        ...

    async def unload(self, model: str) -> None:
        """Return once the engine no longer holds the model; raise `HUNG` if it does not let go."""
        ...

    def stream(self, call: Call) -> AsyncGenerator[Delta | Finished, None]:
        """Run the call. Closing the generator early cancels the work in the engine at once."""
        ...

    async def close(self) -> None: ...
