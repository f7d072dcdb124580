"""What any request may ask of an engine, and what none may."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from services.inference_worker.backends.ollama_protocol import request
from services.inference_worker.backends.parameters import token_limit
from services.inference_worker.backends.port import BackendError, Call, Profile
from shared.events.base import Operation
from shared.events.inference import FailureReason

PROFILE = Profile("small", 4096, 1)


def call(limit: int | None = None, **body: Any) -> Call:
    return Call(PROFILE, Operation.CHAT, body, limit)


@pytest.mark.parametrize(
    ("limited", "limit"),
    [
        (call(), None),
        (call(5), 5),
        (call(max_tokens=4, max_completion_tokens=9), 4),
        (call(3, max_tokens=4, max_completion_tokens=None), 3),
    ],
)
def test_the_lowest_limit_counts(limited: Call, limit: int | None) -> None:
    assert token_limit(limited) == limit


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("limit", [-1, 0, 2**31, 1e30, 1.5, True, "9"])
def test_what_is_no_limit_is_refused_for_engines_take_it_for_none(name: str, limit: object) -> None:
    with pytest.raises(BackendError, match=f"{name} must be a whole number") as refused:
        token_limit(call(**{name: limit}))

    assert refused.value.reason is FailureReason.BAD_INPUT


WORDS = {
    *("role", "content", "type", "text", "image_url", "url", "tool_calls", "function"),
    *("name", "arguments", "id", "tool_call_id", "reasoning_content"),
}
PARAMETERS = {
    *("stop", "tools", "tool_choice", "response_format", "reasoning_effort"),
    *("temperature", "max_tokens", "n"),
}

anything = some.recursive(
    some.none() | some.booleans() | some.integers() | some.text(max_size=5) | some.just("function"),
    lambda inner: (
        some.lists(inner, max_size=3)
        | some.dictionaries(some.sampled_from(sorted(WORDS)), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(
    body=some.dictionaries(some.sampled_from(sorted(PARAMETERS)), anything),
    messages=some.lists(anything, min_size=1, max_size=3),
)
def test_whatever_a_producer_writes_it_is_translated_or_refused(
    body: dict[str, Any], messages: list[Any]
) -> None:
    reason = FailureReason.BAD_INPUT
    try:
        request(Call(PROFILE, Operation.CHAT, {**body, "messages": messages}), "small")
    except BackendError as error:
        reason = error.reason

    assert reason is FailureReason.BAD_INPUT
