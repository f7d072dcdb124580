"""What the bytes and headers of a request become."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.calls import chosen, parse_inference, parse_request
from services.gateway.errors import ApiError
from services.gateway.exchange import Submission
from shared.events.base import Operation, Priority

QUESTION = [{"role": "user", "content": "Hello"}]
HELLO = json.dumps({"messages": QUESTION}).encode()

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.text(max_size=20)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


def chat(headers: dict[bytes, bytes] | None = None, **fields: Any) -> Any:
    body = json.dumps({"messages": QUESTION, **fields}).encode()
    return parse_inference(Operation.CHAT, headers or {}, body)


def outcome(
    operation: Operation, raw: bytes, headers: dict[bytes, bytes] | None = None
) -> Submission | ApiError:
    try:
        return parse_inference(operation, headers or {}, raw).submission
    except ApiError as error:
        return error


def refused(
    operation: Operation, raw: bytes, headers: dict[bytes, bytes] | None = None
) -> ApiError:
    with pytest.raises(ApiError) as caught:
        parse_inference(operation, headers or {}, raw)
    return caught.value


@given(extra=st.dictionaries(st.text(min_size=1, max_size=8), json_values, max_size=4))
def test_unknown_fields_reach_the_engine_unchanged(extra: dict[str, Any]) -> None:
    extra = {f"x_{key}": value for key, value in extra.items()}

    submission = chat(model="qwen-7b", **extra).submission

    assert submission.input == {"messages": QUESTION, "model": "qwen-7b", **extra}


def test_what_only_concerns_delivery_is_not_part_of_the_content() -> None:
    call = chat(stream=True, stream_options={"include_usage": True}, roundhouse={"task": "report"})

    assert call.submission.input == {"messages": QUESTION}
    assert call.submission.chunks
    assert call.include_usage


@pytest.mark.parametrize(
    ("model", "pinned", "task"),
    [
        (None, None, None),
        ("", None, None),
        ("auto", None, None),
        ("task/classify", None, "classify"),
        ("qwen2.5:7b", "qwen2.5:7b", None),
        ("org/model-GGUF@Q4_K_M", "org/model-GGUF@Q4_K_M", None),
    ],
)
def test_a_concrete_name_pins_and_anything_else_lets_the_router_choose(
    model: str | None, pinned: str | None, task: str | None
) -> None:
    assert chosen(model) == (pinned, task)


@pytest.mark.parametrize(
    ("model", "code"),
    [("a b", "model_not_found"), ("task/", "task_not_found"), ("é", "model_not_found")],
)
def test_a_name_that_nothing_can_have_is_not_found(model: str, code: str) -> None:
    with pytest.raises(ApiError) as caught:
        chosen(model)

    assert (caught.value.status, caught.value.code) == (404, code)


@given(raw=st.binary(max_size=64) | json_values.map(lambda value: json.dumps(value).encode()))
def test_whatever_the_body_holds_it_is_understood_or_refused_with_a_reason(raw: bytes) -> None:
    for operation in Operation:
        result = outcome(operation, raw)

        if isinstance(result, ApiError):
            assert result.status in (400, 404)
            assert result.message


@given(
    body=st.dictionaries(
        st.sampled_from(["messages", "model", "n", "stream", "max_tokens", "roundhouse", "stop"]),
        json_values,
    )
)
def test_a_refused_field_is_named(body: dict[str, Any]) -> None:
    result = outcome(Operation.CHAT, json.dumps(body).encode())

    if isinstance(result, ApiError):
        assert result.param
        assert result.param.split(".")[0] in {*body, "messages"}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b'{"messages":\n  oops}', "The body is not JSON: expected value at line 2 column 3."),
        (b"", "The body is not JSON: EOF while parsing a value at line 1 column 0."),
        (b"[1]", "The body is a JSON array; it must be an object."),
        (b'{"messages": NaN}', "The body is not JSON: expected value at line 1 column 14."),
        (b'{"messages": [1e999]}', "A number in the body is too large."),
    ],
)
def test_malformed_json_is_refused_with_the_position(raw: bytes, message: str) -> None:
    error = refused(Operation.CHAT, raw)

    assert (error.status, error.code, error.message) == (400, "invalid_json", message)


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({}, "messages", "messages: Field required."),
        ({"messages": [{"content": "x"}]}, "messages.0.role", "messages.0.role: Field required."),
        (
            {"messages": [{"role": "user", "content": 5}]},
            "messages.0.content",
            "messages.0.content: Input should be a valid string, or: Input should be a valid list.",
        ),
        (
            {"messages": QUESTION, "n": 2},
            "n",
            "n: only 1 is possible: send the request once for each answer.",
        ),
        (
            {"messages": QUESTION, "stream": "yes"},
            "stream",
            "stream: Input should be a valid boolean.",
        ),
        (
            {"messages": QUESTION, "roundhouse": {"priorty": "LOW"}},
            "roundhouse.priorty",
            "roundhouse.priorty: Extra inputs are not permitted.",
        ),
    ],
    ids=["missing", "deep", "union", "several answers", "kind", "misspelt hint"],
)
def test_an_invalid_field_is_refused_by_name(
    body: dict[str, Any], param: str, message: str
) -> None:
    error = refused(Operation.CHAT, json.dumps(body).encode())

    assert (error.status, error.param, error.message) == (400, param, message)


def test_a_list_of_one_prompt_is_that_prompt() -> None:
    call = parse_inference(Operation.COMPLETION, {}, b'{"prompt": ["Once"]}')

    assert call.submission.input == {"prompt": "Once"}


@pytest.mark.parametrize(
    ("prompt", "says"),
    [(["a", "b"], "one prompt at a time"), ([1, 2], "token ids"), ([], "token ids"), (5, "string")],
)
def test_several_prompts_or_token_ids_are_refused(prompt: object, says: str) -> None:
    error = refused(Operation.COMPLETION, json.dumps({"prompt": prompt}).encode())

    assert (error.status, error.param) == (400, "prompt")
    assert says in error.message


@given(st.integers(-3, 10), st.integers(-3, 10))
def test_the_newer_of_the_two_token_limits_counts(older: int, newer: int) -> None:
    limits = {"max_tokens": older, "max_completion_tokens": newer}

    result = outcome(Operation.CHAT, json.dumps({"messages": QUESTION, **limits}).encode())

    if min(older, newer) > 0:
        assert isinstance(result, Submission)
        assert result.max_tokens == newer
    else:
        assert isinstance(result, ApiError)


@pytest.mark.parametrize(
    ("content", "operation"),
    [
        ({"messages": QUESTION}, Operation.CHAT),
        ({"prompt": "x"}, Operation.COMPLETION),
        ({"input": ["x"]}, Operation.EMBEDDING),
        ("just a question", None),
    ],
    ids=["chat", "completion", "embedding", "text"],
)
def test_the_operation_of_a_submitted_request_shows_in_its_input(
    content: object, operation: Operation | None
) -> None:
    call = parse_request({}, json.dumps({"input": content, "priority": "HIGH"}).encode())

    assert call.submission.operation is operation
    assert call.submission.priority is Priority.HIGH
    assert call.submission.input == content
    assert not call.submission.reply


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": {}}, "input"),
        ({"input": {"messages": []}}, "input.messages"),
        ({"input": "x", "priority": "urgent"}, "priority"),
        ({"input": "x", "deadline_ms": 10**12}, "deadline_s"),
    ],
)
def test_a_submitted_request_is_checked_before_it_is_taken(
    body: dict[str, Any], param: str
) -> None:
    with pytest.raises(ApiError) as caught:
        parse_request({}, json.dumps(body).encode())

    assert (caught.value.status, caught.value.param) == (400, param)


def test_what_a_submitted_request_says_wins_over_what_its_input_says() -> None:
    body = {"input": {"messages": QUESTION, "model": "a", "max_tokens": 5}, "model": "b"}

    submission = parse_request({}, json.dumps(body).encode()).submission

    assert (submission.model, submission.max_tokens) == ("b", 5)
