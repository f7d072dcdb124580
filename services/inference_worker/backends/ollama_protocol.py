"""Between the OpenAI protocol and Ollama's own. Pure.

Ollama also speaks OpenAI's protocol, but not the whole of it: there, nothing can set the context
length, refuse to cut a prompt, or tell a load from a prefill.
"""

import json
from collections.abc import Iterable
from typing import Any

from services.inference_worker.backends.failures import failure
from services.inference_worker.backends.parameters import require_one_answer, token_limit
from services.inference_worker.backends.port import BackendError, Call, Delta, Finished, joined
from shared.events.base import Operation
from shared.events.inference import FailureReason, Usage

PATHS = {Operation.CHAT: "/api/chat", Operation.COMPLETION: "/api/generate"}

SAME_NAMED_OPTIONS = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "repeat_penalty",
)

WHOLE = {"truncate": False, "shift": False}
"""Without these, Ollama cuts what does not fit, and says nothing."""

COLD_MS = 100
"""A load took place if Ollama says that one took longer; finding a loaded model takes less."""

NS_PER_MS = 1e6


def request(call: Call, model: str) -> dict[str, Any]:
    """The body for /api/chat or /api/generate. Raise `BAD_INPUT` for what Ollama cannot do."""
    require_one_answer(call.input)
    body = {
        "model": model,
        "stream": True,
        **WHOLE,
        "options": options(call),
        **_format(call.input.get("response_format")),
        **_think(call.input.get("reasoning_effort")),
    }
    if call.operation is Operation.COMPLETION:
        return {**body, "prompt": _prompt(call.input), "raw": True}
    if call.input.get("tools") and call.input.get("tool_choice") != "none":
        body["tools"] = call.input["tools"]
    return {**body, "messages": _messages(call.input)}


def embed_request(call: Call, model: str) -> dict[str, Any]:
    """The body for /api/embed."""
    kept = {key: value for key, value in call.input.items() if key in ("input", "dimensions")}
    return {
        **kept,
        "model": model,
        "truncate": False,
        "options": {"num_ctx": call.profile.context_tokens},
    }


def options(call: Call) -> dict[str, Any]:
    """Ollama's options. The context length is always the profile's, for any other would make
    Ollama reload the model; and there is always a token limit, for without one a model that
    repeats itself holds its slot for good."""
    chosen = {
        name: call.input[name] for name in SAME_NAMED_OPTIONS if call.input.get(name) is not None
    }
    stop = call.input.get("stop")
    if stop:
        chosen["stop"] = [stop] if isinstance(stop, str) else stop
    limit = token_limit(call)
    chosen["num_predict"] = call.profile.context_tokens if limit is None else limit
    chosen["num_ctx"] = call.profile.context_tokens
    return chosen


class Answer:
    """What one stream of JSON lines has said so far. `id_prefix` begins the ids of tool calls."""

    def __init__(self, id_prefix: str) -> None:
        self._id_prefix = id_prefix
        self._tool_calls = 0
        self._final: dict[str, Any] | None = None

    def read(self, lines: Iterable[bytes]) -> list[Delta]:
        """What these lines add. Raise `BackendError` where one of them reports an error, which
        Ollama also does after status 200."""
        return joined(self._read(line) for line in lines if line.strip())

    def finished(self) -> Finished:
        """The engine's account. Raise `CRASHED` where it broke off without one."""
        if self._final is None:
            raise BackendError(FailureReason.CRASHED, "Ollama broke off its answer")
        reason = self._final.get("done_reason") or "stop"
        return account(self._final, "tool_calls" if self._tool_calls else reason)

    def _read(self, line: bytes) -> tuple[str, dict[str, Any] | None]:
        try:
            record = json.loads(line)
        except ValueError as error:
            raise BackendError(FailureReason.CRASHED, "Ollama sent a broken line") from error
        if "error" in record:
            raise failure(line.decode(errors="replace"))
        if record.get("done"):
            self._final = record
        message = record.get("message") or {}
        extra: dict[str, Any] = {}
        if thinking := message.get("thinking") or record.get("thinking"):
            extra["reasoning_content"] = thinking
        if calls := message.get("tool_calls"):
            extra["tool_calls"] = [self._tool_call(call) for call in calls]
        return message.get("content") or record.get("response") or "", extra or None

    def _tool_call(self, call: dict[str, Any]) -> dict[str, Any]:
        index = self._tool_calls
        self._tool_calls += 1
        function = call.get("function") or {}
        return {
            "index": index,
            "id": call.get("id") or f"{self._id_prefix}{index}",
            "type": "function",
            "function": {
                "name": function.get("name") or "",
                "arguments": json.dumps(function.get("arguments") or {}),
            },
        }


def account(
    record: dict[str, Any], finish_reason: str, embeddings: list[list[float]] | None = None
) -> Finished:
    """What a final record says: its durations are nanoseconds, and absent where they are 0."""
    load_ms = record.get("load_duration", 0) / NS_PER_MS
    return Finished(
        finish_reason=finish_reason,
        usage=Usage(
            prompt_tokens=record.get("prompt_eval_count", 0),
            completion_tokens=record.get("eval_count", 0),
            cached_tokens=record.get("prompt_eval_cached_count", 0),
        ),
        load_ms=round(load_ms) if load_ms > COLD_MS else None,
        prefill_ms=record.get("prompt_eval_duration", 0) / NS_PER_MS,
        decode_ms=record.get("eval_duration", 0) / NS_PER_MS,
        embeddings=embeddings,
    )


def _bad_input(message: str) -> BackendError:
    return BackendError(FailureReason.BAD_INPUT, message)


def _prompt(body: dict[str, Any]) -> str:
    match body.get("prompt"):
        case str(prompt) | [str(prompt)] if prompt:
            return prompt
    raise _bad_input("Ollama completes text only; send the prompt as one string, not empty")


def _format(wanted: Any) -> dict[str, Any]:
    match wanted:
        case None | {"type": "text"}:
            return {}
        case {"type": "json_object"}:
            return {"format": "json"}
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return {"format": schema}
    raise _bad_input("response_format must be text, json_object, or json_schema with a schema")


def _think(effort: Any) -> dict[str, Any]:
    if effort is None:
        return {}
    return {"think": False if effort in ("none", "minimal") else effort}


def _messages(body: dict[str, Any]) -> list[dict[str, Any]]:
    messages = body.get("messages")
    if not messages or not isinstance(messages, list):
        raise _bad_input("messages must be a list of messages, and not empty")
    if not all(isinstance(message, dict) for message in messages):
        raise _bad_input("each of the messages must have a role and content")
    called: dict[str, str] = {}
    return [_message(message, called) for message in messages]


def _message(message: dict[str, Any], called: dict[str, str]) -> dict[str, Any]:
    """`called` collects the names of the functions called so far, by the id of the call: OpenAI's
    tool messages name the call that they answer, Ollama's the function."""
    text, images = _content(message.get("content"))
    role = message.get("role")
    translated: dict[str, Any] = {
        "role": "system" if role == "developer" else role,
        "content": text,
    }
    if images:
        translated["images"] = images
    if message.get("reasoning_content"):
        translated["thinking"] = message["reasoning_content"]
    if message.get("tool_calls"):
        translated["tool_calls"] = [_call(call, called) for call in message["tool_calls"]]
    if identity := message.get("tool_call_id"):
        if not isinstance(identity, str):
            raise _bad_input("a message's tool_call_id must be text")
        translated["tool_call_id"] = identity
        translated["tool_name"] = message.get("name") or called.get(identity, "")
    return translated


def _content(content: Any) -> tuple[str, list[str]]:
    """Text and base64 images of a message's content, which is text or a list of parts."""
    if content is None or isinstance(content, str):
        return content or "", []
    texts: list[str] = []
    images: list[str] = []
    for part in content if isinstance(content, list) else [content]:
        match part:
            case {"type": "text", "text": str(text)}:
                texts.append(text)
            case {"type": "image_url", "image_url": {"url": str(url)} | str(url)}:
                images.append(_image(url))
            case _:
                raise _bad_input("a message's content must be text, or parts of text and images")
    return "\n".join(texts), images


def _image(url: str) -> str:
    head, comma, data = url.partition(",")
    if not (head.startswith("data:") and head.endswith(";base64") and comma):
        raise _bad_input("an image must be sent as a data: URL in base64; nothing fetches others")
    return data


def _call(call: Any, called: dict[str, str]) -> dict[str, Any]:
    match call:
        case {"function": {"name": str(name), "arguments": str(arguments)}}:
            try:
                parsed = json.loads(arguments or "{}")
            except ValueError:
                raise _bad_input(f"the arguments of a call of {name} are no JSON") from None
            identity = str(call.get("id") or name)
            called[identity] = name
            return {"id": identity, "function": {"name": name, "arguments": parsed}}
    raise _bad_input("a message's tool_calls must name a function and its arguments")
