"""`make bench`: what a request costs, beside what it costs elsewhere, in one run.

python -m tests.benchmarks --quick --only ours
"""

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import uvloop

from cli.address import ROOT
from tests.benchmarks import meter, ours
from tests.benchmarks.engine import last_word
from tests.benchmarks.litellm import litellm
from tests.benchmarks.load import Load
from tests.benchmarks.nginx import nginx
from tests.benchmarks.report import Report
from tests.benchmarks.rounds import CASES, CROWDED, Bench, Case, Row
from tests.benchmarks.surroundings import machine, versions
from tests.benchmarks.systems import NotHereError, Site, System, direct, engine

CHUNKS = 50
CHUNK_S = 0.01

CROWDS = (1_000, 100_000, 1_000_000)
QUICK_CROWDS = (1_000, 10_000)

Start = Callable[[Site], AbstractAsyncContextManager[System]]

SYSTEMS: dict[str, Start] = {
    "direct": direct,
    "nginx": nginx,
    "litellm": litellm,
    "ours": ours.processes,
    "compact": ours.compact,
}
CROWD = "crowd"
"""Ours with many requests that wait, measured apart from the others."""
PARTS = (*SYSTEMS, CROWD)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What a request costs, here and elsewhere.")
    parser.add_argument("--rounds", type=int, help="how often everything is measured (5)")
    parser.add_argument("--seconds", type=float, help="how long each time (3)")
    parser.add_argument(
        "--quick", action="store_true", help="one round of a second; nothing is written"
    )
    parser.add_argument("--only", default="", help=f"of {', '.join(PARTS)}; commas between")
    parser.add_argument("--out", type=Path, help="folder for the tables (docs/benchmarks)")
    parser.add_argument("--cache", type=Path, default=ROOT / ".roundhouse-bench")
    given = parser.parse_args()
    given.rounds = given.rounds or (1 if given.quick else 5)
    given.seconds = given.seconds or (1.0 if given.quick else 3.0)
    if given.out is None and not given.quick:
        given.out = ROOT / "docs" / "benchmarks"
    given.only = [name for name in given.only.split(",") if name] or list(PARTS)
    if unknown := set(given.only) - set(PARTS):
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(PARTS)}")
    return given


async def bench(given: argparse.Namespace, folder: Path) -> Report:
    """Nothing that was started stays, however this is ended."""
    measuring = asyncio.ensure_future(measure(given, folder))
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, measuring.cancel)
    return await measuring


async def measure(given: argparse.Namespace, folder: Path) -> Report:
    async with AsyncExitStack() as stack:
        engine_url, engine_pid = await stack.enter_async_context(engine(CHUNKS, CHUNK_S))
        site = Site(folder, given.cache, engine_url)
        load = await Load.start()
        stack.push_async_callback(load.end)
        part = Part(given, site, load, engine_pid)
        await part.measure({name: SYSTEMS[name] for name in given.only if name != CROWD}, CASES)
        if CROWD in given.only:
            crowds = QUICK_CROWDS if given.quick else CROWDS
            starts = {f"{each:,} waiting": partial(ours.crowded, waiting=each) for each in crowds}
            await part.measure(starts, CROWDED)
        return Report(
            command=command(given),
            date=datetime.now(UTC).date().isoformat(),
            machine=machine(),
            rounds=given.rounds,
            seconds=given.seconds,
            versions=versions(part.systems),
            missing=part.missing,
            memory_mib=part.memory_mib,
            rows=part.rows,
        )


@dataclass
class Part:
    """What is measured together, one part after another; what was found so far."""

    given: argparse.Namespace
    site: Site
    load: Load
    engine_pid: int
    systems: list[System] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    memory_mib: dict[str, dict[str, float]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    async def measure(self, starts: Mapping[str, Start], cases: Sequence[Case]) -> None:
        """Start the systems, measure them in turn, and end them."""
        async with AsyncExitStack() as stack:
            systems: list[System] = []
            for name, start in starts.items():
                say(f"starting {name}")
                try:
                    systems.append(await stack.enter_async_context(start(self.site)))
                except NotHereError as reason:
                    say(f"without {name}: {reason}")
                    self.missing[name] = str(reason)
            bench = Bench(self.load, self.engine_pid, systems, last_word(CHUNKS), say)
            self.rows += await bench.rounds(self.given.rounds, self.given.seconds, cases)
            self.memory_mib |= bench.memory()
            self.systems += systems


def command(given: argparse.Namespace) -> str:
    """As somebody else would type it."""
    words = ["make bench", f"ROUNDS={given.rounds}"]
    if given.quick:
        words.append("QUICK=1")
    if given.only != list(PARTS):
        words.append(f"ONLY={','.join(given.only)}")
    return " ".join(words)


def main() -> None:
    given = options()
    if why := meter.why_not_here():
        sys.exit(f"Nothing can be measured here: {why}.")
    with tempfile.TemporaryDirectory(prefix="roundhouse-bench-") as folder:
        try:
            report = uvloop.run(bench(given, Path(folder)))
        except asyncio.CancelledError:
            sys.exit("Stopped; nothing was written.")
    say("\n" + report.markdown())
    if given.out:
        report.write(given.out)
        say(f"Written to {given.out}.")


if __name__ == "__main__":
    main()
