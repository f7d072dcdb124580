"""What an entry of the inbox says, whoever wrote it."""

import json
from typing import Any

import pytest

from services.router.inbox import (
    MAX_BODY_BYTES,
    Incoming,
    Unreadable,
    measured,
    principal_of,
    read,
)
from shared.bus.envelope import Entry
from shared.events.inference import MOST_TOKENS

STREAM = "rh:inference.requested.v1"
COMPLETE = {"type": "inference.requested.v1", "operation": "chat", "inputbytes": "5"}


def entry(data: dict[str, Any] | None = None, **attributes: str) -> Entry:
    fields = {name.encode(): value.encode() for name, value in attributes.items()}
    return Entry(STREAM, "1-1", {b"data": json.dumps(data or {"input": "hi"}).encode(), **fields})


def incoming(data: dict[str, Any] | None = None, **attributes: str) -> Incoming:
    found = read(entry(data, **attributes))
    assert isinstance(found, Incoming), found
    return found


@pytest.mark.parametrize(
    ("stream", "principal"),
    [(STREAM, "local"), (f"{STREAM}:crm", "crm"), (f"{STREAM}:a:b", "a:b")],
)
def test_the_principal_is_who_may_write_the_stream(stream: str, principal: str) -> None:
    said = entry(principal="boss")

    assert principal_of(Entry(stream, said.id, said.fields), STREAM) == principal


@pytest.mark.parametrize(
    "limited",
    [
        pytest.param(lambda limit: entry(maxtokens=str(limit)), id="attribute"),
        pytest.param(lambda limit: entry({"input": "hi", "max_tokens": limit}), id="data"),
    ],
)
def test_a_limit_that_no_engine_can_count_to_is_refused(limited: Any) -> None:
    taken, refused = read(limited(MOST_TOKENS)), read(limited(10**30))

    assert isinstance(taken, Incoming)
    assert taken.attributes.max_tokens == MOST_TOKENS
    assert isinstance(refused, Unreadable)
    assert refused.why.startswith("max")


@pytest.mark.parametrize("said", ["1", "999999999"])
def test_the_size_of_a_body_is_what_it_is_and_not_what_its_producer_says(said: str) -> None:
    found = incoming({"input": "hi" * 50}, **{**COMPLETE, "inputbytes": said})

    assert found.attributes.input_bytes == len(json.dumps({"input": "hi" * 50}))
    assert found.fields("crm")["inputbytes"] == str(found.attributes.input_bytes)


def test_the_size_of_a_body_elsewhere_is_measured_there() -> None:
    found = incoming(**COMPLETE, dataref="x")

    taken, refused = measured(found, 300_000), measured(found, MAX_BODY_BYTES + 1)

    assert isinstance(taken, Incoming)
    assert taken.attributes.input_bytes == 300_000
    assert isinstance(refused, Unreadable)
    assert "larger than" in refused.why


def test_a_reference_is_as_long_as_an_id_and_a_little_more_may_be() -> None:
    assert incoming(**COMPLETE, dataref="i" * 64 + ":12345678").dataref
