"""The reference for people says what the code does."""

import ast
import re

from services.gateway.errors import refusal
from shared.events.inference import FailureReason
from tests.house.sources import ROOT, calls, python_files

ERRORS = (ROOT / "docs/reference/errors.md").read_text()
ROW = re.compile(r"^\| `(\w+)` \| (\d{3}) \| `(\w+)` \|", re.MULTILINE)


OWN_ROW = re.compile(r"^\| (\d{3}) \| `(\w+)` \|", re.MULTILINE)


def own_errors() -> set[tuple[int, str]]:
    """Status and code of every error that the gateway's code spells out."""
    return {
        (call.args[0].value, keyword.value.value)
        for path in python_files("services")
        for name, call in calls(path)
        for keyword in call.keywords
        if name == "ApiError" and keyword.arg == "code"
        if isinstance(call.args[0], ast.Constant) and isinstance(keyword.value, ast.Constant)
    }


def test_the_table_of_errors_is_what_the_gateway_answers() -> None:
    documented = {reason: (int(status), code) for reason, status, code in ROW.findall(ERRORS)}
    answers = {reason: refusal(reason, "why") for reason in FailureReason}

    assert documented == {reason: (error.status, error.code) for reason, error in answers.items()}


def test_the_statuses_that_say_when_to_come_back_are_the_ones_documented() -> None:
    errors = [refusal(reason, "why") for reason in FailureReason]
    names = {error.status: {name for name, _ in error.headers()} for error in errors}

    assert {status for status in names if b"retry-after" in names[status]} == {429, 503}
    assert {status for status in names if b"x-should-retry" in names[status]} == {
        409,
        499,
        502,
        504,
    }


def test_the_gateway_s_own_refusals_are_all_documented() -> None:
    assert own_errors() == {(int(status), code) for status, code in OWN_ROW.findall(ERRORS)}
    assert len(own_errors()) > 10
