"""What an entry of the inbox says, whoever wrote it."""

import json
from typing import Any

import pytest

from services.router.inbox import Incoming, Unreadable, read
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
