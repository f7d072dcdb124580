"""Putting an engine's pieces together into the body of an OpenAI response."""

from typing import Any

from services.inference_worker.backends.port import Delta, Finished
from shared.events.base import Operation
from shared.events.inference import Usage

_OBJECTS = {
    Operation.CHAT: ("chat.completion", "chatcmpl-"),
    Operation.COMPLETION: ("text_completion", "cmpl-"),
    Operation.EMBEDDING: ("list", "embd-"),
}


class Answer:
    """Collects the pieces of one answer."""

    def __init__(self, operation: Operation, request_id: str, model: str, created_s: int) -> None:
        self._operation = operation
        self._request_id = request_id
        self._model = model
        self._created_s = created_s
        self._content: list[str] = []
        self._half = ""
        self._extra: dict[str, Any] = {}

    def add(self, delta: Delta) -> Delta:
        """Take in a piece; the piece as it can be sent on.

        An engine may cut a character in two, between the halves of a UTF-16 pair: the first half
        is kept back until the second comes.
        """
        text = self._half + delta.content
        self._half = text[-1:] if text and "\ud800" <= text[-1] <= "\udbff" else ""
        whole = text.removesuffix(self._half) if self._half else text
        content = whole.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if content:
            self._content.append(content)
        if delta.extra:
            merge(self._extra, delta.extra)
        return Delta(content, delta.extra)

    def body(self, finished: Finished) -> dict[str, Any]:
        """The response as its endpoint answers it."""
        kind, prefix = _OBJECTS[self._operation]
        head = {"id": prefix + self._request_id, "object": kind, "model": self._model}
        if self._operation is Operation.EMBEDDING:
            data = [
                {"object": "embedding", "index": index, "embedding": vector}
                for index, vector in enumerate(finished.embeddings or ())
            ]
            return {**head, "data": data, "usage": usage_body(finished.usage)}
        return {
            **head,
            "created": self._created_s,
            "choices": [self._choice(finished.finish_reason)],
            "usage": usage_body(finished.usage),
        }

    def _choice(self, finish_reason: str) -> dict[str, Any]:
        content = "".join(self._content)
        choice: dict[str, Any] = {"index": 0, "finish_reason": finish_reason, "logprobs": None}
        if self._operation is Operation.COMPLETION:
            return {**choice, "text": content}
        says_nothing = not content and "tool_calls" in self._extra
        message = {"role": "assistant", "content": None if says_nothing else content}
        return {**choice, "message": {**message, **self._extra}}


def usage_body(usage: Usage) -> dict[str, Any]:
    """Usage as the OpenAI API words it."""
    body: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
    if usage.cached_tokens:
        body["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    return body


def merge(into: dict[str, Any], delta: dict[str, Any]) -> None:
    """Add a delta's keys: texts grow, lists of indexed parts (tool calls) are merged by index."""
    for key, value in delta.items():
        known = into.get(key)
        if isinstance(value, str) and isinstance(known, str) and key not in ("id", "type", "role"):
            into[key] = known + value
        elif isinstance(value, dict) and isinstance(known, dict):
            merge(known, value)
        elif isinstance(value, list):
            into[key] = _merge_parts(known or [], value)
        elif value is not None:
            into[key] = value


def _merge_parts(parts: list[Any], deltas: list[Any]) -> list[Any]:
    for delta in deltas:
        index = delta.get("index", len(parts)) if isinstance(delta, dict) else len(parts)
        if index < len(parts) and isinstance(delta, dict):
            merge(parts[index], delta)
        else:
            parts.append(delta)
    return parts
