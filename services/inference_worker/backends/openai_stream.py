"""The OpenAI protocol as engines speak it: one call in, one stream out."""

import re
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from itertools import groupby
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

TEXT = re.compile(rb'"(?:content|text)": ?"([^"\\]*)"')
PLAIN = re.compile(rb'[^"\\]*(?:\\[nrtbf"/\\][^"\\]*)*')
"""The inside of a JSON string, less what may be half a character (\\u escapes)."""

LEARNT_FROM = 3
"""Of so many lines, the first of which says who speaks."""

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
        self._pattern = Pattern()

    def read(self, lines: Iterable[bytes]) -> list[Delta]:
        """What these lines add. Raise `BackendError` where the engine reports an error."""
        left = [line for line in lines if line]
        first = 0 if self._pattern.known else LEARNT_FROM
        said = self._parsed(left[:first])
        for alike, some in groupby(left[first:], self._pattern.fits):
            if alike:
                said.append((self._pattern.text(some), None))
            else:
                said += self._parsed(list(some))
        return joined(said)

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

    def _parsed(self, lines: list[bytes]) -> list[tuple[str, dict[str, Any] | None]]:
        events = _events(lines)
        said = [self._read(event) for event in events]
        if events and said[-1][1] is None and not _says_more(events[-1]):
            self._pattern.learn(lines[-1], said[-1][0])
        return said

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


class Pattern:
    """An engine's events of one answer differ in their text alone: what stands before and after it
    is learned from one, and the others are not parsed, only their texts, all at once.
    """

    def __init__(self) -> None:
        self._before = self._after = b""

    @property
    def known(self) -> bool:
        return bool(self._before)

    def learn(self, line: bytes, text: str) -> None:
        """From an event of which `text` is all that it says."""
        found = TEXT.search(line)
        if found and text and found[1] == text.encode():
            self._before, self._after = line[: found.start(1)], line[found.end(1) :]

    def fits(self, line: bytes) -> bool:
        before, after = self._before, self._after
        if not (before and line.startswith(before) and line.endswith(after)):
            return False
        return PLAIN.fullmatch(line, len(before), len(line) - len(after)) is not None

    def text(self, lines: Iterable[bytes]) -> str:
        first, last = len(self._before), len(self._after)
        texts = b"".join([line[first : len(line) - last] for line in lines])
        return str(_json(b'"%b"' % texts))


def _says_more(event: dict[str, Any]) -> bool:
    """Whether it says anything beside a text."""
    choices = event.get("choices")
    ends = not choices or choices[0].get("finish_reason")
    return bool(ends or event.get("usage") or event.get("timings"))


def _events(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    """Those that arrived together are parsed together, as one list."""
    values = []
    for line in lines:
        name, _, value = line.partition(b":")
        if name == b"error":
            raise failure(value.decode(errors="replace"))
        if name == b"data" and (event := value.strip()) != b"[DONE]":
            values.append(event)
    return [event for event in _json(b"[%b]" % b",".join(values)) if isinstance(event, dict)]


def _json(text: bytes) -> Any:
    try:
        return from_json(text)
    except ValueError as error:
        raise BackendError(FailureReason.CRASHED, "the engine sent a broken event") from error


def _usage(answer: dict[str, Any]) -> Usage:
    usage = answer.get("usage") or {}
    details = usage.get("prompt_tokens_details") or {}
    return Usage(
        prompt_tokens=usage.get("prompt_tokens") or 0,
        completion_tokens=usage.get("completion_tokens") or 0,
        cached_tokens=details.get("cached_tokens") or 0,
    )
