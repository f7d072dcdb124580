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

INPUT_WORDS = re.compile(
    r"^failed to parse (messages|tools|tool_choice|response_format|json_schema|grammar)\b"
    r"|(image|audio|video) input is not supported|missing data required for image input"
    r"|image: unknown format|failed to process inputs|failed to load image|invalid image"
    r"|^template: |chat template|jinja|failed to (create|initialize|parse) .{0,20}grammar"
    r"|invalid json schema|does not support (tools|thinking|images?|chat|generate|insert)",
    re.IGNORECASE,
)
"""Of engines that answer 500 to an input that they cannot take, and would do so for ever:
llama.cpp for images, messages and tools, Ollama for images and what its templates make of tools."""

ECHO = re.compile(
    r"(?<=^failed to parse )(.*?)(: [{\"]|, got |; tools = ).*", re.DOTALL | re.IGNORECASE
)
"""Where llama.cpp begins to repeat the request."""

UNEXPLAINED = "an error that it did not explain"

ENGINE_WORDS = re.compile(
    r"runner|terminated|unexpectedly|exit status|exited|crash|died|dead\b|panic|cuda|ggml|hip error"
    r"|metal|vulkan|compute error|connection (refused|reset)|\bEOF\b|EngineCore|error loading",
    re.IGNORECASE,
)
"""Of an engine that is broken, or a part of it, though something still answers for it."""

BY_STATUS = {
    401: FailureReason.REFUSED,
    402: FailureReason.REFUSED,
    403: FailureReason.REFUSED,
    404: FailureReason.REFUSED,
    405: FailureReason.REFUSED,
    408: FailureReason.TIMED_OUT,
    409: FailureReason.REFUSED,
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
    stated = status or _stated_code(details)
    message = _message(details, text)
    shown = message[:LONGEST_MESSAGE]
    if CONTEXT_WORDS.search(message):
        needed = _tokens_needed(message)
        return BackendError(FailureReason.CONTEXT_EXCEEDED, shown, tokens_needed=needed)
    if MEMORY_WORDS.search(message):
        return BackendError(FailureReason.OUT_OF_MEMORY, shown)
    said = f"the engine answered {stated}" if stated else "the engine said"
    reason = _by_words(message) if status == 500 and details else None
    reason = reason or _by_status(stated)
    return BackendError(reason, f"{said}: {shown}{HINTS.get(stated or 0, '')}")


def _by_words(message: str) -> FailureReason | None:
    """What an engine means that answers, well-formed, that it failed: it is there, though
    perhaps not all of it. None where its words do not tell."""
    if INPUT_WORDS.search(message):
        return FailureReason.BAD_INPUT
    if ENGINE_WORDS.search(message) or message == UNEXPLAINED:
        return None
    return FailureReason.REFUSED


def _by_status(status: int | None) -> FailureReason:
    if status in BY_STATUS:
        return BY_STATUS[status]
    if status is None or status >= 500:
        return FailureReason.CRASHED
    return FailureReason.BAD_INPUT if status >= 400 else FailureReason.REFUSED


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
    return ECHO.sub(r"\1", _sentence(details, text))


def _sentence(details: Any, text: str) -> str:
    match details:
        case {"error": {"message": str(message)}} | {"error": str(message)}:
            return message
        case {"message": str(message)} | {"detail": str(message)}:
            return message
        case {"detail": [*problems]}:
            return "; ".join(str(item.get("msg")) for item in problems if isinstance(item, dict))
        case None:
            return text.strip()
    return UNEXPLAINED


def _tokens_needed(message: str) -> int | None:
    for pattern in TOKENS_NEEDED:
        if found := pattern.search(message):
            return sum(int(tokens) for tokens in found.groups())
    return None
