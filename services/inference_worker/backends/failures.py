"""What an engine's error means for an attempt. Pure.

Engines agree on neither statuses nor words; the words were collected from llama.cpp, Ollama,
vLLM, LM Studio, LocalAI and OpenAI.
"""

import json
import re
from typing import Any

from services.inference_worker.backends.port import BackendError
from shared.events.inference import FailureReason

LONGEST_MESSAGE = 300

CONTEXT_WORDS = re.compile(
    r"exceed_context_size|context_length_exceeded|maximum context length"
    r"|exceeds? the (available |model'?s? |maximum )*context|available context size"
    r"|context the overflows|context length of only|model'?s context length is only"
    r"|longer than the (model'?s? )?context|prompt (is )?too long|physical batch size"
    r"|maximum (allowed )?(input|prompt) length",
    re.IGNORECASE,
)
MEMORY_WORDS = re.compile(
    r"out of memory|out-of-memory|cudaMalloc failed|failed to allocate|unable to allocate"
    r"|insufficient memory|requires more (system |gpu )?memory|not enough memory",
    re.IGNORECASE,
)
TOKENS_NEEDED = (
    re.compile(r"n_prompt_tokens\W+(\d+)"),
    re.compile(r"(?:request|input) \((\d+) tokens\)"),
    re.compile(r"too large: (\d+)\..*your request has (\d+) input tokens", re.DOTALL),
    re.compile(r"passed (\d+) input tokens and requested (\d+) output tokens"),
    re.compile(r"requested (?:about )?(\d+) tokens"),
    re.compile(r"resulted in (\d+) tokens"),
    re.compile(r"[Ii]nput length \(?(\d+)\)?"),
)
"""Where the needed tokens are said; where a pattern has two groups, they add up."""

BY_STATUS = {
    401: FailureReason.REFUSED,
    403: FailureReason.REFUSED,
    404: FailureReason.REFUSED,
    408: FailureReason.TIMED_OUT,
    429: FailureReason.REFUSED,
    501: FailureReason.BAD_INPUT,
    503: FailureReason.REFUSED,
}
HINTS = {
    401: "; set api_key_env of this engine in roundhouse.yaml",
    403: "; set api_key_env of this engine in roundhouse.yaml",
}


def failure(text: str, status: int | None = None) -> BackendError:
    """The error that an engine's answer amounts to. `text` is the body, or a line of a stream;
    without a status, the one that the text itself names, or else a crash."""
    details = _parsed(text)
    if status is None:
        status = _stated_code(details)
    message = _message(details, text)
    shown = message[:LONGEST_MESSAGE]
    if CONTEXT_WORDS.search(message):
        needed = _tokens_needed(message)
        return BackendError(FailureReason.CONTEXT_EXCEEDED, shown, tokens_needed=needed)
    if MEMORY_WORDS.search(message):
        return BackendError(FailureReason.OUT_OF_MEMORY, shown)
    said = f"the engine answered {status}" if status else "the engine said"
    return BackendError(_reason(status), f"{said}: {shown}{HINTS.get(status or 0, '')}")


def _reason(status: int | None) -> FailureReason:
    if status is None or status >= 500:
        return BY_STATUS.get(status or 0, FailureReason.CRASHED)
    return BY_STATUS.get(status, FailureReason.BAD_INPUT)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _stated_code(details: Any) -> int | None:
    match details:
        case {"error": {"code": int(code)}} | {"error": {"status": int(code)}}:
            return code
        case {"status": int(code)} | {"code": int(code)}:
            return code
    return None


def _message(details: Any, text: str) -> str:
    """The engine's sentence alone: around it, some engines repeat the request."""
    match details:
        case {"error": {"message": str(message)}} | {"error": str(message)}:
            return message
        case {"message": str(message)} | {"detail": str(message)}:
            return message
        case {"detail": [*problems]}:
            return "; ".join(str(item.get("msg")) for item in problems if isinstance(item, dict))
        case None:
            return text.strip()
    return "an error that it did not explain"


def _tokens_needed(message: str) -> int | None:
    for pattern in TOKENS_NEEDED:
        if found := pattern.search(message):
            return sum(int(tokens) for tokens in found.groups())
    return None
