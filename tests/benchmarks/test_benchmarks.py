"""That the benchmark measures what it says; no figure is asserted."""

import json
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from redis.asyncio import Redis

from shared.bus.keys import Keys
from shared.events.base import Priority
from tests.benchmarks import meter, ours
from tests.benchmarks.crowd import fill
from tests.benchmarks.engine import last_word
from tests.benchmarks.figures import P1, P3, Rows, Spread, crowds, usable
from tests.benchmarks.load import Load
from tests.benchmarks.orders import Order, Seen, Shape, Way, percentile
from tests.benchmarks.profiling import Profile
from tests.benchmarks.report import Report
from tests.benchmarks.rounds import CROWDED, MANY, Bench, Case, Row, Sample
from tests.benchmarks.systems import NotHereError, Site, direct, engine, running, until_ready
from tests.waiting import until

CHUNKS = 5
PLAIN = Case(Shape.PLAIN, MANY)
needs_proc = pytest.mark.skipif(bool(meter.why_not_here()), reason=meter.why_not_here())


def sample(cpu_ms: float, *, foreign: float = 0.0, p50_ms: float = 1.0, **failures: int) -> Sample:
    seen = Seen(10, failures, 1.0, p50_ms, 2.0, 0.5)
    return Sample(seen, {"one": cpu_ms / 2, "other": cpu_ms / 2}, 0.01, foreign)


def row(system: str, *samples: Sample) -> Row:
    return Row(system, Way.HTTP, PLAIN, list(samples))


@pytest.fixture
async def load() -> AsyncIterator[Load]:
    load = await Load.start()
    yield load
    await load.end()


def report(rows: list[Row]) -> Report:
    return Report(
        command="make bench",
        date="2026-01-01",
        machine="2 cores",
        rounds=1,
        seconds=0.1,
        versions={},
        missing={"nginx": "it is not installed"},
        memory_mib={"ours": {"router": 40.0, "gateway": 50.0}},
        rows=rows,
    )


@needs_proc
async def test_every_way_into_a_whole_plane_is_measured(tmp_path: Path, load: Load) -> None:
    cases = (PLAIN, Case(Shape.CHUNKS, 4))
    async with (
        engine(CHUNKS, 0.005) as (url, pid),
        direct(Site(tmp_path, tmp_path, url)) as bare,
        ours.compact(Site(tmp_path, tmp_path, url)) as plane,
    ):
        systems = [replace(system, warm_s=0.05) for system in (bare, plane)]
        bench = Bench(load, pid, systems, last_word(CHUNKS), say=lambda line: None)
        rows = await bench.rounds(1, 0.1, cases)
        memory = bench.memory()
        await fill(plane.addresses[Way.STREAM], 300)
        order = Order(Way.HTTP, plane.addresses[Way.HTTP], Shape.PLAIN, 4, 0.1, last_word(CHUNKS))
        beside = await load.carry_out(order)
        async with Redis.from_url(plane.addresses[Way.STREAM]) as store:
            assert await store.zcard(Keys().waiting(Priority.LOW)) == 300

    assert beside.requests >= 4
    assert not beside.failures
    each = {(row.system, row.way, row.case): row.samples[0] for row in rows}
    assert len(each) == 3 * len(cases)
    assert not [sample.seen.failures for sample in each.values() if sample.seen.failures]
    assert all(
        sample.seen.requests >= sample_row.in_flight for (_, _, sample_row), sample in each.items()
    )
    for case in cases:
        for way in Way:
            cpu_ms = each[plane.name, way, case].cpu_ms
            assert cpu_ms.keys() >= {"valkey", "services", "supervisor"}
            assert cpu_ms["services"] > 0
    assert memory[plane.name]["services"] > 10
    markdown = report(rows).markdown()
    assert "| ours, compact, by stream |" in markdown
    assert json.loads(json.dumps(report(rows).document()))["rows"]


async def test_a_wrong_answer_is_a_failure_and_no_sample(load: Load) -> None:
    async with engine(CHUNKS, 0.0) as (url, _):
        order = Order(Way.HTTP, url, Shape.CHUNKS, 2, 0.05, expected="a word that nobody says")
        seen = await load.carry_out(order)

    assert seen.requests == 0
    assert next(iter(seen.failures)).startswith("HTTP 200: ")


async def test_a_server_that_is_not_there_is_a_failure(load: Load) -> None:
    seen = await load.carry_out(Order(Way.HTTP, "http://127.0.0.1:1", Shape.PLAIN, 1, 0.05, "x"))

    assert "ConnectionRefusedError" in next(iter(seen.failures))


async def test_a_paced_stream_takes_its_time(load: Load) -> None:
    async with engine(CHUNKS, 0.02) as (url, _):
        order = Order(Way.HTTP, url, Shape.PACED_CHUNKS, 2, 0.1, last_word(CHUNKS))
        seen = await load.carry_out(order)

    assert not seen.failures
    assert seen.p50_ms >= (CHUNKS + 1) * 20 * 0.99
    assert seen.first_p50_ms < seen.p50_ms


@needs_proc
async def test_what_a_process_starts_counts_with_it_and_is_not_foreign(tmp_path: Path) -> None:
    waits = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"
    before = meter.read({})
    async with running((sys.executable, "-c", waits), tmp_path / "log") as pid:
        await until(lambda: meter.read({"one": pid}).by_name["one"] > 0.5, timeout_s=30)
        after = meter.read({"one": pid})

    own = meter.used(before, after)
    unknown = replace(after, by_name={})
    assert own.by_name["one"] > 0.5
    assert own.foreign < meter.used(before, unknown).foreign


async def test_a_system_that_does_not_come_up_is_left_out_with_its_last_words(
    tmp_path: Path,
) -> None:
    async def ready() -> bool:
        return False

    log = tmp_path / "log"
    log.write_text("no such option\n")

    with pytest.raises(NotHereError, match="no such option"):
        await until_ready(ready, 0.1, log)


def test_rounds_in_which_others_were_busy_do_not_count() -> None:
    quiet, busy = sample(1.0), sample(9.0, foreign=0.5)

    assert usable(row("ours", quiet, quiet, busy)) == [quiet, quiet]


def test_where_most_rounds_were_busy_all_count_and_the_report_says_so() -> None:
    samples = [sample(1.0), sample(9.0, foreign=0.5), sample(8.0, foreign=0.5)]

    assert usable(row("ours", *samples)) == samples
    assert "in 2 of 3 measurements" in report([row("ours", *samples)]).markdown()


def test_a_round_with_a_failure_never_counts() -> None:
    assert usable(row("ours", sample(1.0, timeout=1))) == []


def test_ratios_are_those_within_a_round() -> None:
    ours_row = row("ours", sample(1.0), sample(2.0), sample(4.0))
    rows = Rows([ours_row, row("LiteLLM", sample(10.0), sample(20.0), sample(48.0))])

    assert rows.ratio("LiteLLM", ours_row) == Spread(10.0, (10.0, 11.0))


def test_a_crowd_is_compared_with_the_smallest_in_the_same_round() -> None:
    rows = [
        replace(row(name, *samples), case=CROWDED[0])
        for name, samples in {
            "ours, 10 waiting": (sample(1.0), sample(2.0)),
            "ours, 99 waiting": (sample(1.1), sample(2.2)),
        }.items()
    ]

    markdown = report([row("ours", sample(1.0)), *rows]).markdown()

    assert [each.ratio.median for each in crowds(rows) if each.ratio] == [1.0, pytest.approx(1.1)]
    assert "| ours, 99 waiting | 1.65 (1.38 to 1.93) | 1.1 (1.1 to 1.1) |" in markdown
    assert "1.1\N{MULTIPLICATION SIGN} (floor). Floor ≤ 1.2" in markdown
    assert "| ours, 99 waiting, by HTTP" not in markdown


def test_added_latency_leaves_out_the_engine_s_own() -> None:
    ours_row = row("ours", sample(1.0, p50_ms=3.0))
    rows = Rows([row("direct", sample(0.0, p50_ms=1.0)), ours_row])

    assert rows.added_ms(ours_row, "p50_ms") == Spread(2.0, None)


@pytest.mark.parametrize(
    ("target", "value", "verdict"),
    [(P1, 31, "goal"), (P1, 12, "floor"), (P1, 11, "missed"), (P3, 1.5, "goal"), (P3, 4, "missed")],
)
def test_a_figure_is_held_against_floor_and_goal(
    target: object, value: float, verdict: str
) -> None:
    assert target.verdict(value) == verdict  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("share", "value"), [(0.5, 2), (0.75, 3), (0.99, 4), (1.0, 4), (0.01, 1)], ids=str
)
def test_a_percentile_is_a_value_that_was_seen(share: float, value: float) -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], share) == value


def test_a_profile_counts_who_runs_and_who_called() -> None:
    profile = Profile.read(
        "run (asyncio/runners.py:1);pump (services/router/term.py:9);dumps (json/__init__.py:3) 6\n"
        "run (asyncio/runners.py:1) 4\n"
    )

    assert profile.samples == 10
    assert profile.parts == {"json": 6, "asyncio": 4}
    assert profile.below["pump (services/router/term.py:9)"] == 6
    assert "| `pump (services/router/term.py:9)` | 60.0% |" in "\n".join(profile.markdown())
