"""The file of results, and what is kept in memory of a run."""

import os
import tracemalloc
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import from_json, to_json

from cli.batch.lines import BadLine, Line, Requests, Wishes
from cli.batch.results import Lines, Results, held
from cli.batch.run import Bounds, survey
from cli.batch.summary import Summary
from cli.errors import UserError
from shared.events.base import Priority

SOMEWHERE = os.stat_result((0,) * 10)


def result(line: int, outcome: str = "completed", retry: int = 0, **more: Any) -> dict[str, Any]:
    names = {"line": line, "id": f"id-{line}", "request_id": f"id-{line}"}
    return {**names, "retry": retry, "outcome": outcome, **more}


def as_line(*results: dict[str, Any]) -> bytes:
    return b"".join(to_json(each) + b"\n" for each in results)


@pytest.fixture
def lines() -> Lines:
    """Three requests; the second line of the file is blank."""
    lines = Lines()
    for number in (1, 3, 4):
        lines.expect(number, f"id-{number}")
    return lines


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


@pytest.fixture
def results(out: Path) -> Iterator[Results]:
    with held(out, SOMEWHERE) as results:
        yield results


def test_what_is_added_is_known_and_stands_in_the_file(
    lines: Lines, out: Path, results: Results
) -> None:
    results.add(result(3), lines)
    results.add(result(1, "failed"), lines)

    assert [from_json(each)["line"] for each in out.read_bytes().splitlines()] == [3, 1]
    assert (lines.count, lines.completed, lines.otherwise) == (3, 1, 1)


@pytest.mark.parametrize("cut", range(1, len(as_line(result(3)))))
def test_a_last_line_is_mended_wherever_it_was_cut(lines: Lines, out: Path, cut: int) -> None:
    out.write_bytes(as_line(result(1)) + as_line(result(3))[:cut])

    with held(out, SOMEWHERE) as results:
        results.load(lines)

    whole = cut == len(as_line(result(3))) - 1
    assert out.read_bytes() == as_line(result(1)) + (as_line(result(3)) if whole else b"")
    assert lines.completed == 1 + whole


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a diary", ":1 is no result of a run"),
        (b'{"line": 1}\n', ":1 is no result of a run"),
        (as_line(result(1)) + b"[]\n", ":2 is no result of a run"),
        (as_line(result(2)), "a result of another request for line 2"),
        (as_line(result(9)), "a result of another request for line 9"),
        (as_line({**result(1), "id": "other"}), "a result of another request for line 1"),
    ],
    ids=["text", "lacking", "list", "blank-line", "beyond", "other-id"],
)
def test_what_is_no_result_of_this_input_is_refused_and_left_as_it_is(
    lines: Lines, out: Path, content: bytes, said: str
) -> None:
    out.write_bytes(content)

    with held(out, SOMEWHERE) as results, pytest.raises(UserError, match=said):
        results.load(lines)

    assert out.read_bytes() == content


def test_a_retry_takes_the_place_of_what_it_retried(
    lines: Lines, out: Path, results: Results
) -> None:
    for each in (result(1, "failed"), result(3), result(1, "failed", 1), result(1, "completed", 2)):
        results.add(each, lines)

    results.settle(lines)
    results.add(result(4), lines)

    assert out.read_bytes() == as_line(result(3), result(1, "completed", 2), result(4))
    assert (lines.completed, lines.otherwise, lines.retries(1)) == (3, 0, 2)
    with pytest.raises(UserError, match="Another run"), held(out, SOMEWHERE):
        pass


def test_a_disk_that_is_full_adds_nothing_and_says_so(
    lines: Lines, out: Path, results: Results
) -> None:
    import resource
    import signal

    results.add(result(1), lines)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (out.stat().st_size + 10, limits[1]))
    try:
        with pytest.raises(UserError, match="cannot be written"):
            results.add(result(3), lines)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)

    assert out.read_bytes() == as_line(result(1))


def parsed(text: bytes, **wishes: Any) -> list[Line | BadLine]:
    requests = Requests(BytesIO(text), "input", Wishes(**wishes))
    return [requests.parse(number, raw) for number, raw in requests.raw()]


def test_the_same_line_at_the_same_place_has_the_same_id_in_every_run() -> None:
    (first, second) = parsed(b'{"input": "a"}\n{"input": "a"}\n')
    (again,) = parsed(b'{ "input" : "a" }')
    (sooner,) = parsed(b'{"input": "a"}', priority=Priority.CRITICAL, deadline_ms=5)
    (otherwise,) = parsed(b'{"input": "a"}', model="m")

    assert isinstance(first, Line)
    assert first.id == again.id == sooner.id
    assert len({first.id, second.id, otherwise.id}) == 3
    assert sooner.body == first.body
    assert sooner.extensions["priority"] == "CRITICAL"


def test_a_line_may_be_too_long_and_the_next_one_is_read_all_the_same() -> None:
    long = b'{"input": "' + b"x" * (16 << 20) + b'"}\n'

    bad, good = parsed(long + b'\xef\xbb\xbf{"input": "b"}')

    assert isinstance(bad, BadLine)
    assert "larger than 16 MiB" in bad.why
    assert isinstance(good, Line)
    assert good.number == 2


def test_memory_does_not_grow_with_what_the_lines_say() -> None:
    count = 20_000
    text = b"".join(b'{"input": "%s %d"}\n' % (b"word " * 40, each) for each in range(count))
    requests = Requests(BytesIO(text), "input", Wishes())
    survey(requests, Bounds(1, retries_failed=False, skips_invalid=False))
    tracemalloc.start()

    lines, _ = survey(requests, Bounds(1, retries_failed=False, skips_invalid=False))

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert lines.count == count
    assert peak < 40 * count


def test_a_summary_counts_outcomes_tokens_and_waits() -> None:
    usage = {"prompt_tokens": 2, "completion_tokens": 3, "cached_tokens": 1}
    completed = [
        result(each, usage=usage, timings={"queue_ms": each * 10}) for each in range(1, 21)
    ]
    failed = result(30, "failed", error={"reason": "deadline", "message": "late"})

    document = Summary([*completed, failed]).document()

    assert document == {
        "results": 21,
        "outcomes": {"completed": 20, "failed": 1},
        "reasons": {"deadline": 1},
        "tokens": {"prompt_tokens": 40, "completion_tokens": 60, "cached_tokens": 20},
        "wait_ms": {"p50": 100, "p95": 190},
    }


def test_a_summary_of_nothing_has_no_waits() -> None:
    assert Summary([]).document()["wait_ms"] == {"p50": None, "p95": None}
    assert Summary([]).lines()[0] == "0 results: none"
