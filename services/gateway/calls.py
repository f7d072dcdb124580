"""What a request asks for, and how its answer shall be delivered. Pure but for new ids."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from services.gateway.bodies import Body, ChatBody, CompletionBody, EmbeddingBody, Generation, Limit
from services.gateway.errors import ApiError, refusal
from services.gateway.exchange import Submission
from services.gateway.hints import Hints, hints_in_headers, merged
from services.gateway.parsing import checked, parse_object
from shared.bus.ids import idempotent_request_id, new_traceparent, request_id
from shared.config import AUTO, TASK_PREFIX
from shared.events.base import LOCAL, Name, Operation
from shared.events.inference import FailureReason, InferenceRequested

Headers = Mapping[bytes, bytes]

BODIES: Mapping[Operation, type[Body]] = {
    Operation.CHAT: ChatBody,
    Operation.COMPLETION: CompletionBody,
    Operation.EMBEDDING: EmbeddingBody,
}

_INPUTS = {
    "messages": Operation.CHAT,
    "prompt": Operation.COMPLETION,
    "input": Operation.EMBEDDING,
}

_DELIVERY = frozenset({"roundhouse", "stream", "stream_options", "encoding_format"})
"""What concerns the way of the answer to this caller, and not the answer."""

_IDEMPOTENCY_KEY = re.compile(rb"[\x20-\x7e]{1,255}")
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
_NAME: TypeAdapter[str] = TypeAdapter(Name)


@dataclass(frozen=True, slots=True)
class Call:
    submission: Submission
    model: str
    """As the caller named it."""
    digest: bytes | None = None
    """Of the content, where the caller gave an Idempotency-Key for it."""
    include_usage: bool = False
    dimensions: int | None = None
    base64: bool = False


def parse_inference(operation: Operation, headers: Headers, raw: bytes) -> Call:
    """A call of one of the OpenAI endpoints. Raises `ApiError`."""
    given = parse_object(raw)
    body = checked(BODIES[operation], given)
    submission = _submission(
        headers,
        operation,
        body.model,
        merged(body.roundhouse, hints_in_headers(headers)),
        input=_content(body, given),
        input_bytes=len(raw),
        max_tokens=_max_tokens(body),
        chunks=isinstance(body, Generation) and body.stream is True,
    )
    return Call(
        submission,
        body.model or AUTO,
        _digest(headers, submission),
        include_usage=_wants_usage(body),
        dimensions=body.dimensions if isinstance(body, EmbeddingBody) else None,
        base64=isinstance(body, EmbeddingBody) and body.encoding_format == "base64",
    )


def parse_request(headers: Headers, raw: bytes) -> Call:
    """A call of `POST /v1/requests`: the data of an `inference.requested`. Raises `ApiError`."""
    given = parse_object(raw)
    event = checked(InferenceRequested, given)
    content, model = event.input, event.model
    max_tokens = checked(Limit, {"max_tokens": event.max_tokens}).max_tokens
    hints = _hints_of(event)
    operation = event.operation or _operation_of(content)
    if isinstance(content, dict) and operation is not None:
        body = checked(BODIES[operation], content, "input")
        content = _content(body, content)
        model, max_tokens = model or body.model, max_tokens or _max_tokens(body)
        hints = merged(body.roundhouse, hints)
    submission = _submission(
        headers,
        operation,
        model,
        merged(hints, hints_in_headers(headers)),
        input=content,
        input_bytes=len(raw),
        max_tokens=max_tokens,
        reply=False,
    )
    return Call(submission, model or AUTO, _digest(headers, submission))


def chosen(model: str | None) -> tuple[str | None, str | None]:
    """What `model` asks for: a model by name, or a task by name, or neither. Raises `ApiError`."""
    if model is None or model in ("", AUTO):
        return None, None
    task = model.startswith(TASK_PREFIX)
    name = model.removeprefix(TASK_PREFIX)
    try:
        _NAME.validate_python(name)
    except ValidationError:
        reason = FailureReason.UNKNOWN_TASK if task else FailureReason.UNKNOWN_MODEL
        raise refusal(reason, f"{name!r} cannot be the name of a model or task.") from None
    return (None, name) if task else (name, None)


def traceparent_of(headers: Headers) -> str:
    """The caller's W3C trace context, or a new one where it sent none that is valid."""
    given = headers.get(b"traceparent", b"").decode("latin-1")
    return given if _TRACEPARENT.fullmatch(given) else new_traceparent()


def _submission(
    headers: Headers,
    operation: Operation | None,
    model: str | None,
    hints: Hints,
    **content: Any,
) -> Submission:
    pinned, task = chosen(model)
    key = _idempotency_key(headers)
    return Submission(
        id=idempotent_request_id(LOCAL, key) if key else request_id(),
        operation=operation,
        task=hints.task or task,
        priority=hints.priority,
        model=pinned,
        dataclass=hints.dataclass,
        deadline_ms=max(1, int(hints.deadline_s * 1000)) if hints.deadline_s else None,
        traceparent=traceparent_of(headers),
        **content,
    )


def _content(body: Body, given: dict[str, Any]) -> dict[str, Any]:
    content = {key: value for key, value in given.items() if key not in _DELIVERY}
    if isinstance(body, CompletionBody):
        content["prompt"] = body.prompt
    return content


def _max_tokens(body: Body) -> int | None:
    if isinstance(body, ChatBody) and body.max_completion_tokens:
        return body.max_completion_tokens
    return body.max_tokens if isinstance(body, Generation) else None


def _wants_usage(body: Body) -> bool:
    options = body.stream_options if isinstance(body, Generation) else None
    return options is not None and options.include_usage is True


def _operation_of(content: dict[str, Any] | str) -> Operation | None:
    if isinstance(content, str):
        return None
    for key, operation in _INPUTS.items():
        if key in content:
            return operation
    raise ApiError(
        400,
        "input: needs `messages`, `prompt` or `input`, or to be a plain text.",
        code="invalid_request",
        param="input",
    )


def _hints_of(event: InferenceRequested) -> Hints:
    said = event.model_dump(include={"task", "priority", "dataclass"}, exclude_none=True)
    if event.deadline_ms:
        said["deadline_s"] = event.deadline_ms / 1000
    return checked(Hints, said)


def _idempotency_key(headers: Headers) -> str | None:
    key = headers.get(b"idempotency-key")
    if key is None:
        return None
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        raise ApiError(
            400,
            "Idempotency-Key: must be 1 to 255 printable ASCII characters.",
            code="invalid_request",
            param="Idempotency-Key",
        )
    return key.decode()


def _digest(headers: Headers, submission: Submission) -> bytes | None:
    if b"idempotency-key" not in headers:
        return None
    content = (submission.operation, submission.model, submission.task, submission.input)
    return sha256(to_json(content)).digest()
