"""Server-sent events, however they arrive."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from services.inference_worker.backends.openai_stream import Answer
from services.inference_worker.backends.port import BackendError, Delta
from shared.events.base import Operation
from shared.events.inference import FailureReason, Usage


def event(**body: Any) -> bytes:
    return b"data: " + json.dumps(body).encode()


def said(content: str | None = None, finish_reason: str | None = None, **extra: Any) -> bytes:
    delta = {"content": content, **extra}
    return event(choices=[{"index": 0, "delta": delta, "finish_reason": finish_reason}])


def text_of(deltas: list[Delta]) -> str:
    return "".join(delta.content for delta in deltas)


@settings(deadline=None)
@given(
    words=some.lists(some.text(max_size=5), max_size=30),
    cuts=some.lists(some.integers(0, 60), max_size=10),
)
def test_the_text_is_the_same_however_the_lines_arrive(words: list[str], cuts: list[int]) -> None:
    lines = [line for word in words for line in (said(word), b"")]
    bounds = [0, *sorted(min(cut, len(lines)) for cut in cuts), len(lines)]
    answer = Answer(Operation.CHAT)

    deltas = [delta for begin, end in pairwise(bounds) for delta in answer.read(lines[begin:end])]

    assert text_of(deltas) == "".join(words)
    assert all(delta.content for delta in deltas)


@settings(deadline=None)
@given(
    words=some.lists(some.text(some.characters(exclude_categories=["Cs"]), max_size=5), min_size=5),
    ascii_only=some.booleans(),
    spaced=some.booleans(),
)
def test_events_of_one_pattern_say_what_each_of_them_says(
    words: list[str], ascii_only: bool, spaced: bool
) -> None:
    """Quotes, escapes, other scripts, and texts that look like the rest of the event."""
    words = ["once", *words, '"},"finish_reason":"stop"}]}', "\\", *words]
    separators = (", ", ": ") if spaced else (",", ":")
    lines = [
        b"data: "
        + json.dumps(
            {"choices": [{"delta": {"content": word}, "finish_reason": None}]},
            ensure_ascii=ascii_only,
            separators=separators,
        ).encode()
        for word in words
    ]
    answer = Answer(Operation.CHAT)

    deltas = answer.read([*lines, said("", "stop")])

    assert text_of(deltas) == "".join(words)
    assert answer.finished().finish_reason == "stop"


def test_a_text_that_is_no_json_is_a_crash_also_where_its_event_is_like_the_others() -> None:
    answer = Answer(Operation.CHAT)
    lines = [said("one"), said("two"), said("three")]
    answer.read(lines)

    with pytest.raises(BackendError) as crashed:
        answer.read([lines[0].replace(b"one", b"o\nne")])

    assert crashed.value.reason is FailureReason.CRASHED


def test_pieces_that_arrive_together_are_one() -> None:
    assert Answer(Operation.CHAT).read([said("a"), b"", said("b")]) == [Delta("ab")]


def test_a_role_and_pings_are_no_answer() -> None:
    lines = [said(None, role="assistant"), b": ping", b"event: message", b"data: [DONE]\r"]
    assert Answer(Operation.CHAT).read(lines) == []


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_reasoning_has_one_name_whatever_the_engine_calls_it(name: str) -> None:
    deltas = Answer(Operation.CHAT).read([said("a"), said(None, **{name: "hmm"}), said("b")])

    assert deltas == [Delta("a", {"reasoning_content": "hmm"}), Delta("b")]


def test_tool_calls_are_passed_on_as_they_are() -> None:
    calls = [{"index": 0, "id": "x", "function": {"name": "weather", "arguments": ""}}]

    assert Answer(Operation.CHAT).read([said("", tool_calls=calls, refusal=None)]) == [
        Delta("", {"tool_calls": calls})
    ]


def test_the_account_is_put_together_from_the_last_events() -> None:
    answer = Answer(Operation.COMPLETION)
    usage = {
        "prompt_tokens": 7,
        "completion_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": 5},
    }

    answer.read(
        [
            event(choices=[{"text": "ab", "finish_reason": None}]),
            event(choices=[{"text": "", "finish_reason": "length"}]),
            event(choices=[], usage=usage, timings={"prompt_ms": 1.5, "predicted_ms": 8.0}),
        ]
    )

    finished = answer.finished()
    assert finished.finish_reason == "length"
    assert finished.usage == Usage(prompt_tokens=7, completion_tokens=2, cached_tokens=5)
    assert (finished.prefill_ms, finished.decode_ms) == (1.5, 8.0)


@pytest.mark.parametrize("details", [None, {}, {"cached_tokens": None}])
def test_an_engine_need_not_tell_what_was_cached(details: Any) -> None:
    answer = Answer(Operation.CHAT)
    answer.read([said("a", "stop"), event(usage={"prompt_tokens_details": details})])

    assert answer.finished().usage.cached_tokens == 0


def test_an_answer_without_a_finish_has_crashed() -> None:
    answer = Answer(Operation.CHAT)
    answer.read([said("half an"), b"data: [DONE]"])

    with pytest.raises(BackendError) as crashed:
        answer.finished()

    assert crashed.value.reason is FailureReason.CRASHED


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (event(error={"code": 500, "message": "died"}), FailureReason.CRASHED),
        (b'error: {"code": 400, "message": "no"}', FailureReason.BAD_INPUT),
        (b"data: {broken", FailureReason.CRASHED),
        (event(error={"message": "CUDA out of memory"}), FailureReason.OUT_OF_MEMORY),
    ],
)
def test_an_error_among_the_events_ends_the_answer(line: bytes, reason: FailureReason) -> None:
    with pytest.raises(BackendError) as ended:
        Answer(Operation.CHAT).read([said("a"), line])

    assert ended.value.reason is reason
