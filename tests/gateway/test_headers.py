"""What the headers of a request say about how it shall be treated."""

import json
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.gateway.calls import parse_inference, traceparent_of
from services.gateway.errors import ApiError
from services.gateway.exchange import Submission
from services.gateway.hints import HEADERS, MAX_DEADLINE_S
from shared.events.base import Operation, Priority

QUESTION = [{"role": "user", "content": "Hello"}]
HELLO = json.dumps({"messages": QUESTION}).encode()


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


def test_a_header_wins_over_the_body() -> None:
    in_body = {"task": "report", "priority": "low", "deadline_s": 5, "dataclass": "public"}
    headers = {b"x-roundhouse-priority": b"critical", b"x-roundhouse-deadline-s": b"2.5"}

    submission = chat(headers, model="task/chat", roundhouse=in_body).submission

    assert submission.task == "report"
    assert submission.priority is Priority.CRITICAL
    assert submission.deadline_ms == 2500
    assert submission.dataclass == "public"


@given(value=st.binary(max_size=12), header=st.sampled_from(sorted(HEADERS.values())))
def test_whatever_a_header_holds_it_is_understood_or_named_in_a_refusal(
    value: bytes, header: str
) -> None:
    result = outcome(Operation.CHAT, HELLO, {header.lower().encode(): value})

    if isinstance(result, ApiError):
        assert (result.status, result.param) == (400, header)
    else:
        assert result.deadline_ms is None or 0 < result.deadline_ms <= MAX_DEADLINE_S * 1000


def test_a_valid_trace_context_is_kept_and_another_replaced() -> None:
    valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    assert traceparent_of({b"traceparent": valid.encode()}) == valid
    for invalid in (b"", b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01", b"ff" + valid.encode()[2:]):
        assert traceparent_of({b"traceparent": invalid}) != invalid.decode()


def test_an_idempotency_key_gives_the_same_id_and_none_a_new_one() -> None:
    keyed = {b"idempotency-key": b"order 17"}

    assert chat(keyed).submission.id == chat(keyed).submission.id
    assert chat(keyed).submission.id != chat({b"idempotency-key": b"order 18"}).submission.id
    assert chat().submission.id != chat().submission.id


@given(key=st.binary(max_size=300))
def test_an_idempotency_key_is_taken_or_refused_by_name(key: bytes) -> None:
    result = outcome(Operation.CHAT, HELLO, {b"idempotency-key": key})

    assert isinstance(result, Submission) or result.param == "Idempotency-Key"


def test_the_content_of_a_keyed_request_counts_and_not_its_delivery() -> None:
    keyed = {b"idempotency-key": b"k"}
    plain = chat(keyed, model="auto")

    assert plain.digest == chat(keyed, model="auto", stream=True).digest
    assert plain.digest != chat(keyed, model="auto", temperature=0).digest


@given(st.floats())
def test_a_deadline_is_positive_finite_and_at_most_a_week(seconds: float) -> None:
    sensible = math.isfinite(seconds) and 0 < seconds <= MAX_DEADLINE_S
    headers = {b"x-roundhouse-deadline-s": str(seconds).encode()}

    result = outcome(Operation.CHAT, HELLO, headers)

    assert isinstance(result, Submission) == sensible
