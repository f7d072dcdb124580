"""Bodies of answers, as the OpenAPI document describes them."""

from typing import Any, Literal

from pydantic import BaseModel

from shared.events.base import Operation


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    error: ErrorDetail


class Account(BaseModel):
    """How an answer came about. `noise`: text of the generated test model, without meaning."""

    request_id: str
    node: str
    attempt: int
    timings: dict[str, float]
    """In milliseconds, as far as measured: queue_ms, load_ms, prefill_ms, decode_ms, total_ms."""
    degraded: bool
    noise: bool


class TokenUsage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatMessage(BaseModel):
    role: str
    content: str | None


class ChatChoice(BaseModel):
    index: int
    message: ChatMessage
    finish_reason: str


class ChatCompletion(BaseModel):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: TokenUsage
    roundhouse: Account


class ChatChunkChoice(BaseModel):
    index: int
    delta: dict[str, Any]
    finish_reason: str | None


class ChatChunk(BaseModel):
    """One event of a streamed chat; `data: [DONE]` follows the last."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: TokenUsage | None = None
    roundhouse: Account | None = None


class CompletionChoice(BaseModel):
    index: int
    text: str
    finish_reason: str | None


class Completion(BaseModel):
    """A completion, or one event of a streamed one."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: TokenUsage | None = None
    roundhouse: Account | None = None


class Embedding(BaseModel):
    """A vector, or its little-endian 32-bit floats in base64."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Embeddings(BaseModel):
    object: Literal["list"]
    model: str
    data: list[Embedding]
    usage: TokenUsage
    roundhouse: Account


class Model(BaseModel):
    """A model that can be asked for by its `id`."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str
    operations: list[Operation]
    context_tokens: int | None = None
    degraded: bool = False
    noise: bool = False


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]


class RequestStatus(BaseModel):
    """A request: `submitted`, then its stages, at last `completed`, `failed`, `rejected` or
    `cancelled`, with a `result` or an `error`."""

    id: str
    object: Literal["request"] = "request"
    state: str
    timestamps_ms: dict[str, int] = {}
    model: str | None = None
    node: str | None = None
    attempt: int = 0
    result: dict[str, Any] | None = None
    error: ErrorDetail | None = None
