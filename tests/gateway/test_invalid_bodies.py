"""What an OpenAI client may get wrong, and that it is told which field it was."""

import json
from typing import Any

import pytest

from services.gateway.calls import parse_inference, parse_request
from services.gateway.errors import ApiError
from shared.events.base import Operation

QUESTION = [{"role": "user", "content": "Hello"}]
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CALL = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def says(*parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}]}


WRONG = [
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_tokens": 10**30}, "max_tokens"),
    ({"max_tokens": 1e30}, "max_tokens"),
    ({"max_tokens": 2**31}, "max_tokens"),
    ({"max_tokens": "9"}, "max_tokens"),
    ({"max_completion_tokens": 10**30}, "max_completion_tokens"),
    ({"temperature": -0.1}, "temperature"),
    ({"temperature": 1e30}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"top_p": 1.1}, "top_p"),
    ({"frequency_penalty": 3}, "frequency_penalty"),
    ({"presence_penalty": "x"}, "presence_penalty"),
    ({"seed": 2**70}, "seed"),
    ({"seed": "x"}, "seed"),
    ({"n": 0}, "n"),
    ({"n": 2}, "n"),
    ({"n": "x"}, "n"),
    ({"stop": 3}, "stop"),
    ({"stop": [3]}, "stop.0"),
    ({"stop": ["a"] * 17}, "stop"),
    ({"tools": "x"}, "tools"),
    ({"tools": ["x"]}, "tools.0"),
    ({"tools": [TOOL, {"type": "function"}]}, "tools.1.function"),
    ({"tools": [{"type": "odd", "function": {"name": "x"}}]}, "tools.0.type"),
    ({"tools": [{"type": "function", "function": {}}]}, "tools.0.function.name"),
    ({"tools": [{"type": "function", "function": {"name": 3}}]}, "tools.0.function.name"),
    (
        {"tools": [{"type": "function", "function": {"name": "x", "parameters": "y"}}]},
        "tools.0.function.parameters",
    ),
    ({"tools": [TOOL], "tool_choice": "sometimes"}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "function"}}, "tool_choice.function"),
    ({"messages": []}, "messages"),
    ({"messages": ["hi"]}, "messages.0"),
    ({"messages": [{"role": 7, "content": "x"}]}, "messages.0.role"),
    ({"messages": [{"role": "", "content": "x"}]}, "messages.0.role"),
    ({"messages": [{"role": "user", "content": {"a": 1}}]}, "messages.0.content"),
    ({"messages": [{"role": "assistant", "tool_calls": "x"}]}, "messages.0.tool_calls"),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "1"}]}]},
        "messages.0.tool_calls.0.function",
    ),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "x"}}]}]},
        "messages.0.tool_calls.0.function.arguments",
    ),
    ({"messages": [{"role": "tool", "tool_call_id": 7}]}, "messages.0.tool_call_id"),
    (says(3), "messages.0.content.0"),
    (says({"text": "x"}), "messages.0.content.0.type"),
    (says({"type": 3}), "messages.0.content.0.type"),
    (says({"type": "text"}), "messages.0.content.0.text"),
    (says({"type": "text", "text": "a"}, {"type": "text", "text": 3}), "messages.0.content.1.text"),
    (says({"type": "image_url"}), "messages.0.content.0.image_url"),
    (says({"type": "image_url", "image_url": {}}), "messages.0.content.0.image_url.url"),
    (says({"type": "input_audio", "input_audio": {}}), "messages.0.content.0.input_audio.data"),
]


@pytest.mark.parametrize(
    ("wrong", "param"), WRONG, ids=[json.dumps(body)[:60] for body, _ in WRONG]
)
def test_a_wrong_field_is_refused_by_its_name(wrong: dict[str, Any], param: str) -> None:
    body = {"messages": QUESTION, **wrong}

    for parse in (
        lambda: parse_inference(Operation.CHAT, {}, json.dumps(body).encode()),
        lambda: parse_request({}, json.dumps({"input": body}).encode()),
    ):
        with pytest.raises(ApiError) as refused:
            parse()

        assert (refused.value.status, refused.value.code) == (400, "invalid_request")
        assert (refused.value.param or "").removeprefix("input.") == param
        assert refused.value.message.removeprefix("input.").startswith(f"{param}: ")


@pytest.mark.parametrize(
    "right",
    [
        {"max_tokens": 2**31 - 1},
        {"temperature": 0},
        {"temperature": 3.5},
        {"stop": "end"},
        {"stop": ["a", "b"]},
        {"stop": None, "tools": None, "n": None, "temperature": None},
        {"n": 1},
        {"seed": -1},
        {"tools": [TOOL], "tool_choice": "required"},
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
        {"tools": [{**TOOL, "cache_control": {"type": "ephemeral"}}]},
        {"messages": [*QUESTION, {"role": "assistant", "content": None, "tool_calls": [CALL]}]},
        {"messages": [*QUESTION, {"role": "assistant", "content": "hi", "tool_calls": None}]},
        {"messages": [{"role": "tool", "content": "3", "tool_call_id": "1"}]},
        says({"type": "text", "text": "what is this?"}, IMAGE),
        says({"type": "image_url", "image_url": "data:image/png;base64,AAAA"}),
        says({"type": "video_url", "video_url": {"url": "x"}}),
    ],
    ids=lambda body: json.dumps(body)[:60],
)
def test_what_engines_take_is_handed_on_as_it_was_written(right: dict[str, Any]) -> None:
    body = {"messages": QUESTION, **right}

    submission = parse_inference(Operation.CHAT, {}, json.dumps(body).encode()).submission

    assert submission.input == body


@pytest.mark.parametrize("limit", [1e30, 2**31])
def test_a_limit_beside_the_input_is_refused_as_well(limit: float) -> None:
    given = {"input": {"messages": QUESTION}, "max_tokens": limit}

    with pytest.raises(ApiError) as refused:
        parse_request({}, json.dumps(given).encode())

    assert (refused.value.status, refused.value.param) == (400, "max_tokens")
