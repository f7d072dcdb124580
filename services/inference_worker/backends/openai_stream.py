"""The OpenAI protocol as engines speak it: one call in, one stream out."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Any

from pydantic_core import from_json, to_json

from services.inference_worker.backends.failures import failure
from services.inference_worker.backends.http import EngineHttp
from services.inference_worker.backends.parameters import require_one_answer, token_limit
from services.inference_worker.backends.port import BackendError, Call, Delta, Finished, joined
from shared.events.base import Operation
from shared.events.inference import FailureReason, Usage

PATHS = {
    Operation.CHAT: "/v1/chat/completions",
    Operation.COMPLETION: "/v1/completions",
    Operation.EMBEDDING: "/v1/embeddings",
}

READ_APART = ("role", "content")
"""Keys of a delta that are not passed on as they are."""


async def stream(
    http: EngineHttp, call: Call, model: str
) -> AsyncGenerator[Delta | Finished, None]:
    """Run the call on an engine whose own name for the model is `model`."""
    if call.operation is Operation.EMBEDDING:
        yield await _embed(http, call, model)
        return
    require_one_answer(call.input)
    answer = Answer(call.operation)
    async with aclosing(http.lines(PATHS[call.operation], _body(call, model))) as arriving:
        async for lines in arriving:
            for delta in answer.read(lines):
                yield delta
    yield answer.finished()


def _body(call: Call, model: str) -> dict[str, Any]:
    body = {
        **call.input,
        "model": model,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    body.pop("max_completion_tokens", None)  # LM Studio knows only the older name
    limit = token_limit(call)
    if limit is not None:
        body["max_tokens"] = limit
    return body


async def _embed(http: EngineHttp, call: Call, model: str) -> Finished:
    body = {**call.input, "model": model, "encoding_format": "float"}
    answer = await http.post(PATHS[Operation.EMBEDDING], body, timeout_s=None)
    match answer:
        case {"data": [*items]}:
            vectors = [item["embedding"] for item in sorted(items, key=lambda item: item["index"])]
            return Finished(usage=_usage(answer), embeddings=vectors)
    raise BackendError(FailureReason.CRASHED, f"{http.url} answered without embeddings")


class Answer:
    """What one stream of server-sent events has said so far."""

    def __init__(self, operation: Operation) -> None:
        self._is_chat = operation is Operation.CHAT
        self._finish_reason: str | None = None
        self._usage = Usage()
        self._timings: dict[str, Any] = {}

    def read(self, lines: Iterable[bytes]) -> list[Delta]:
        """What these lines add. Raise `BackendError` where the engine reports an error."""
        return joined(self._read(event) for event in _events(lines))

    def finished(self) -> Finished:
        """The engine's account. Raise `CRASHED` where it broke off without one."""
        if self._finish_reason is None:
            raise BackendError(FailureReason.CRASHED, "the engine broke off its answer")
        return Finished(
            finish_reason=self._finish_reason,
            usage=self._usage,
            prefill_ms=self._timings.get("prompt_ms"),
            decode_ms=self._timings.get("predicted_ms"),
        )

    def _read(self, event: dict[str, Any]) -> tuple[str, dict[str, Any] | None]:
        if "error" in event:
            raise failure(to_json(event).decode())
        if event.get("usage"):
            self._usage = _usage(event)
        self._timings = event.get("timings") or self._timings
        if not event.get("choices"):
            return "", None
        return self._choice(event["choices"][0])

    def _choice(self, choice: dict[str, Any]) -> tuple[str, dict[str, Any] | None]:
        self._finish_reason = choice.get("finish_reason") or self._finish_reason
        if not self._is_chat:
            return choice.get("text") or "", None
        delta = choice.get("delta") or {}
        extra = {key: value for key, value in delta.items() if key not in READ_APART and value}
        if "reasoning" in extra:  # the name that newer vLLM and LM Studio use
            extra.setdefault("reasoning_content", extra.pop("reasoning"))
        return delta.get("content") or "", extra or None


def _events(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    """Those that arrived together are parsed together, as one list."""
    values = []
    for line in lines:
        name, _, value = line.partition(b":")
        if name == b"error":
            raise failure(value.decode(errors="replace"))
        if name == b"data" and (event := value.strip()) != b"[DONE]":
            values.append(event)
    try:
        events = from_json(b"[%b]" % b",".join(values))
    except ValueError as error:
        raise BackendError(FailureReason.CRASHED, "the engine sent a broken event") from error
    return [event for event in events if isinstance(event, dict)]


def _usage(answer: dict[str, Any]) -> Usage:
    usage = answer.get("usage") or {}
    details = usage.get("prompt_tokens_details") or {}
    return Usage(
        prompt_tokens=usage.get("prompt_tokens") or 0,
        completion_tokens=usage.get("completion_tokens") or 0,
        cached_tokens=details.get("cached_tokens") or 0,
    )
