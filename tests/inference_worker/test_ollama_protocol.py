"""Translations between OpenAI's protocol and Ollama's."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from services.inference_worker.backends.ollama_protocol import (
    Answer,
    embed_request,
    options,
    request,
)
from services.inference_worker.backends.port import BackendError, Call, Delta, Profile
from shared.events.base import Operation
from shared.events.inference import FailureReason

PROFILE = Profile("small", 4096, 1)
HELLO = {"messages": [{"role": "user", "content": "hello"}]}


def chat(limit: int | None = None, **body: Any) -> Call:
    return Call(PROFILE, Operation.CHAT, {**HELLO, **body}, limit)


def messages(*given: dict[str, Any]) -> list[dict[str, Any]]:
    translated = request(chat(messages=list(given)), "small:latest")["messages"]
    assert isinstance(translated, list)
    return translated


@given(
    asked=some.dictionaries(some.sampled_from(["num_ctx", "num_gpu", "options"]), some.integers()),
    limit=some.none() | some.integers(1, 10**6),
)
def test_no_request_can_make_ollama_reload_or_generate_for_ever(
    asked: dict[str, int], limit: int | None
) -> None:
    chosen = options(chat(limit, **asked))

    assert chosen["num_ctx"] == PROFILE.context_tokens
    assert chosen["num_predict"] == (limit or PROFILE.context_tokens)
    assert "num_gpu" not in chosen


@pytest.mark.parametrize("operation", [Operation.CHAT, Operation.COMPLETION])
def test_nothing_is_cut_in_silence_and_residency_is_left_alone(operation: Operation) -> None:
    body = request(Call(PROFILE, operation, {**HELLO, "prompt": "hello"}), "small:latest")

    assert body["truncate"] is False
    assert body["shift"] is False
    assert body["stream"] is True
    assert "keep_alive" not in body


def test_sampling_parameters_keep_their_names() -> None:
    chosen = options(chat(temperature=0, top_p=0.5, seed=7, stop="end", frequency_penalty=None))

    assert chosen["temperature"] == 0
    assert chosen["top_p"] == 0.5
    assert chosen["seed"] == 7
    assert chosen["stop"] == ["end"]
    assert "frequency_penalty" not in chosen


def test_a_prompt_is_completed_as_it_is_without_a_template() -> None:
    body = request(Call(PROFILE, Operation.COMPLETION, {"prompt": ["once"]}), "small:latest")

    assert body["prompt"] == "once"
    assert body["raw"] is True


SCHEMA = {"type": "object", "properties": {"label": {"type": "string"}}}


@pytest.mark.parametrize(
    ("wanted", "format_"),
    [
        ({"type": "json_object"}, "json"),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}, SCHEMA),
    ],
)
def test_a_wanted_format_is_passed_on(wanted: dict[str, Any], format_: Any) -> None:
    assert request(chat(response_format=wanted), "small")["format"] == format_


@pytest.mark.parametrize("wanted", [None, {"type": "text"}])
def test_plain_text_needs_no_format(wanted: Any) -> None:
    assert "format" not in request(chat(response_format=wanted), "small")


@pytest.mark.parametrize(("effort", "think"), [("none", False), ("high", "high")])
def test_reasoning_effort_becomes_thinking(effort: str, think: object) -> None:
    assert request(chat(reasoning_effort=effort), "small")["think"] == think


def test_parts_of_a_message_become_text_and_images() -> None:
    parts = [
        {"type": "text", "text": "what"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
        {"type": "text", "text": "is this?"},
    ]

    assert messages({"role": "user", "content": parts}) == [
        {"role": "user", "content": "what\nis this?", "images": ["QUJD"]}
    ]


def test_a_developer_speaks_as_the_system() -> None:
    assert messages({"role": "developer", "content": "be brief"})[0]["role"] == "system"


def test_a_tools_answer_names_the_function_that_was_called() -> None:
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city": "Paris"}'},
    }

    asked, answered = messages(
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
    )

    function = {"name": "weather", "arguments": {"city": "Paris"}}
    assert asked["tool_calls"] == [{"id": "call_1", "function": function}]
    assert answered["tool_name"] == "weather"
    assert answered["tool_call_id"] == "call_1"


def test_tools_that_must_not_be_used_are_not_offered() -> None:
    tool = {"type": "function", "function": {"name": "weather"}}

    assert request(chat(tools=[tool]), "small")["tools"] == [tool]
    assert "tools" not in request(chat(tools=[tool], tool_choice="none"), "small")


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"messages": []}, "not empty"),
        ({"messages": ["hello"]}, "role and content"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "text and images"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": "http://x/y.png"}}],
                    }
                ]
            },
            "data: URL",
        ),
        ({"response_format": {"type": "yaml"}}, "response_format"),
        ({"n": 3}, "n must be 1"),
        ({"logprobs": True}, "logprobs is not supported"),
    ],
)
def test_what_ollama_cannot_do_is_refused_with_a_reason(body: dict[str, Any], problem: str) -> None:
    with pytest.raises(BackendError, match=problem) as refused:
        request(chat(**body), "small")

    assert refused.value.reason is FailureReason.BAD_INPUT


def test_only_what_ollama_knows_is_sent_for_an_embedding() -> None:
    body = {"input": ["a"], "dimensions": 64, "encoding_format": "base64", "user": "me"}

    assert embed_request(Call(PROFILE, Operation.EMBEDDING, body), "e") == {
        "model": "e",
        "input": ["a"],
        "dimensions": 64,
        "truncate": False,
        "options": {"num_ctx": 4096},
    }


def line(**record: Any) -> bytes:
    return json.dumps(record).encode()


def said(text: str) -> bytes:
    return line(message={"role": "assistant", "content": text}, done=False)


def test_pieces_that_arrive_together_are_one() -> None:
    assert Answer("c").read([said("a"), said("b"), b"", said("c")]) == [Delta("abc")]


def test_thinking_and_tool_calls_travel_beside_the_text() -> None:
    called = {"function": {"name": "weather", "arguments": {"city": "Paris"}}}
    answer = Answer("call_7_")

    deltas = answer.read(
        [
            line(message={"content": "", "thinking": "hmm"}, done=False),
            said("so"),
            line(message={"content": "", "tool_calls": [called, called]}, done=False),
            line(message={"content": ""}, done=True, done_reason="stop"),
        ]
    )

    assert deltas[0] == Delta("", {"reasoning_content": "hmm"})
    assert deltas[1].content == "so"
    assert deltas[1].extra is not None
    first, second = deltas[1].extra["tool_calls"]
    assert (first["index"], first["id"], first["type"]) == (0, "call_7_0", "function")
    assert first["function"] == {"name": "weather", "arguments": '{"city": "Paris"}'}
    assert (second["index"], second["id"]) == (1, "call_7_1")
    assert answer.finished().finish_reason == "tool_calls"


@pytest.mark.parametrize(("load_ns", "load_ms"), [(0, None), (9_000_000, None), (2 * 10**9, 2000)])
def test_the_account_is_in_milliseconds_and_tells_a_load_from_none(
    load_ns: int, load_ms: int | None
) -> None:
    answer = Answer("c")
    answer.read(
        [
            line(
                done=True,
                done_reason="length",
                load_duration=load_ns,
                prompt_eval_count=11,
                prompt_eval_duration=5_000_000,
                eval_count=3,
                eval_duration=30_000_000,
            )
        ]
    )

    finished = answer.finished()

    assert finished.load_ms == load_ms
    assert finished.prefill_ms == 5
    assert finished.decode_ms == 30
    assert (finished.usage.prompt_tokens, finished.usage.completion_tokens) == (11, 3)
    assert finished.finish_reason == "length"


@pytest.mark.parametrize("lines", [[], [said("half an answer")]])
def test_an_answer_without_its_last_line_has_crashed(lines: list[bytes]) -> None:
    answer = Answer("c")
    answer.read(lines)

    with pytest.raises(BackendError) as crashed:
        answer.finished()

    assert crashed.value.reason is FailureReason.CRASHED


@pytest.mark.parametrize("broken", [b'{"error": "model runner has unexpectedly stopped"}', b"{hm"])
def test_an_error_among_the_lines_ends_the_answer(broken: bytes) -> None:
    with pytest.raises(BackendError) as crashed:
        Answer("c").read([said("a"), broken])

    assert crashed.value.reason is FailureReason.CRASHED
