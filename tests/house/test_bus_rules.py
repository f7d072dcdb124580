"""What FastStream and Redis offer and the bus must not use on contract streams.

Each of these loses or doubles entries, or forgets what failed; `shared/bus` has its own way.
"""

import ast
import re
from pathlib import Path

import pytest

from tests.house.sources import PRODUCTION, ROOT, calls, place, python_files, repository_files

OUTSIDE_THE_BUS = [
    path for path in python_files(*PRODUCTION) if path.parts[:2] != ("shared", "bus")
]
THE_BUS = [path for path in python_files("shared") if path.parts[:2] == ("shared", "bus")]
SCRIPTS = [path for path in repository_files() if path.suffix == ".lua"]

LOSSY_OPTIONS = {"min_idle_time", "last_id", "maxlen", "no_ack"}
BOUNDED_IN_MEMORY = {"deque", "collections.deque"}


def keywords(call: ast.Call) -> set[str | None]:
    return {keyword.arg for keyword in call.keywords}


def test_there_is_code_to_check() -> None:
    assert len(OUTSIDE_THE_BUS) > 20
    assert len(THE_BUS) > 5
    assert len(SCRIPTS) > 10


def test_nothing_is_published_past_the_bus() -> None:
    past = [
        place(path, call)
        for path in [*OUTSIDE_THE_BUS, *THE_BUS]
        for name, call in calls(path)
        if name.endswith("broker.publish")
    ]
    assert not past, "\n".join(past)


def test_no_subscription_uses_an_option_that_loses_entries() -> None:
    lossy = [
        place(path, call)
        for path in THE_BUS
        for name, call in calls(path)
        if name == "StreamSub" and keywords(call) & LOSSY_OPTIONS
    ]
    assert not lossy, "\n".join(lossy)


def test_nobody_outside_the_bus_trims_a_stream_or_sets_a_position() -> None:
    options = [
        place(path, call)
        for path in OUTSIDE_THE_BUS
        for name, call in calls(path)
        if name not in BOUNDED_IN_MEMORY and keywords(call) & LOSSY_OPTIONS
    ]
    assert not options, "\n".join(options)


def test_no_acknowledgement_of_faststream_is_relied_on() -> None:
    policies = [
        match.group()
        for path in THE_BUS
        for match in re.finditer(r"AckPolicy\.\w+", (ROOT / path).read_text())
    ]
    assert set(policies) == {"AckPolicy.MANUAL"}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_bounds_by_length_only_streams_that_expire_as_a_whole(path: Path) -> None:
    text = (ROOT / path).read_text()

    for key in re.findall(r"'XADD', (\w+), 'MAXLEN'", text):
        assert re.search(rf"'P?EXPIRE', {key}\b", text)
    assert len(re.findall("MAXLEN", text)) == len(re.findall(r"'XADD', \w+, 'MAXLEN'", text))
