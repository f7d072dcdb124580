"""What a request asks of any engine that generates. Pure."""

from typing import Any

from services.inference_worker.backends.port import BackendError, Call
from shared.events.inference import MOST_TOKENS, FailureReason

UNSUPPORTED = ("logprobs", "top_logprobs", "echo", "audio")
"""Parameters whose answers do not fit a stream of text. Refused: ignoring them would be a lie."""


def require_one_answer(body: dict[str, Any]) -> None:
    """Raise `BAD_INPUT` where the request asks for more than one plain answer."""
    for name in ("n", "best_of"):
        if body.get(name) not in (None, 1):
            raise BackendError(
                FailureReason.BAD_INPUT, f"{name} must be 1 here; send one request per answer"
            )
    for name in UNSUPPORTED:
        if body.get(name):
            raise BackendError(
                FailureReason.BAD_INPUT, f"{name} is not supported; leave it out of the request"
            )
    prompts = body.get("prompt")
    texts = prompts if isinstance(prompts, list) else ()
    if len(texts) > 1 and any(isinstance(text, str | list) for text in texts):
        raise BackendError(
            FailureReason.BAD_INPUT, "a list of prompts is not supported; send one request each"
        )


def token_limit(call: Call) -> int | None:
    """The most tokens to generate: the lowest of all limits given, None where there is none.

    Raise `BAD_INPUT` for what is no limit: engines take a negative one for none at all.
    """
    limits = [] if call.max_tokens is None else [call.max_tokens]
    for name in ("max_completion_tokens", "max_tokens"):
        limit = call.input.get(name)
        if limit is None:
            continue
        if type(limit) is not int or not 0 < limit <= MOST_TOKENS:
            raise BackendError(
                FailureReason.BAD_INPUT,
                f"{name} must be a whole number from 1 to {MOST_TOKENS}",
            )
        limits.append(limit)
    return min(limits, default=None)
