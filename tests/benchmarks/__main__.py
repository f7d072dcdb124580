"""`make bench`: what a request costs, beside what it costs elsewhere, in one run.

python -m tests.benchmarks --quick --only ours
"""

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from cli.address import ROOT
from tests.benchmarks import meter, ours
from tests.benchmarks.engine import last_word
from tests.benchmarks.litellm import litellm
from tests.benchmarks.load import Load
from tests.benchmarks.nginx import nginx
from tests.benchmarks.report import Report
from tests.benchmarks.rounds import CASES, Bench
from tests.benchmarks.surroundings import machine, versions
from tests.benchmarks.systems import NotHereError, Site, System, direct, engine

CHUNKS = 50
CHUNK_S = 0.01

Start = Callable[[Site], AbstractAsyncContextManager[System]]

SYSTEMS: dict[str, Start] = {
    "direct": direct,
    "nginx": nginx,
    "litellm": litellm,
    "ours": ours.processes,
    "compact": ours.compact,
}


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
    parser.add_argument("--only", default="", help=f"of {', '.join(SYSTEMS)}; commas between")
    parser.add_argument("--out", type=Path, help="folder for the tables (docs/benchmarks)")
    parser.add_argument("--cache", type=Path, default=ROOT / ".roundhouse-bench")
    given = parser.parse_args()
    given.rounds = given.rounds or (1 if given.quick else 5)
    given.seconds = given.seconds or (1.0 if given.quick else 3.0)
    if given.out is None and not given.quick:
        given.out = ROOT / "docs" / "benchmarks"
    given.only = [name for name in given.only.split(",") if name] or list(SYSTEMS)
    if unknown := set(given.only) - set(SYSTEMS):
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(SYSTEMS)}")
    return given


async def bench(given: argparse.Namespace, folder: Path) -> Report:
    """Nothing that was started stays, however this is ended."""
    measuring = asyncio.ensure_future(measure(given, folder))
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, measuring.cancel)
    return await measuring


async def measure(given: argparse.Namespace, folder: Path) -> Report:
    missing: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        engine_url, engine_pid = await stack.enter_async_context(engine(CHUNKS, CHUNK_S))
        site = Site(folder, given.cache, engine_url)
        systems: list[System] = []
        for name in given.only:
            say(f"starting {name}")
            try:
                systems.append(await stack.enter_async_context(SYSTEMS[name](site)))
            except NotHereError as reason:
                say(f"without {name}: {reason}")
                missing[name] = str(reason)
        load = await Load.start()
        stack.push_async_callback(load.end)
        everything = Bench(load, engine_pid, systems, last_word(CHUNKS), say)
        rows = await everything.rounds(given.rounds, given.seconds, CASES)
        return Report(
            command=command(given),
            date=datetime.now(UTC).date().isoformat(),
            machine=machine(),
            rounds=given.rounds,
            seconds=given.seconds,
            versions=versions(systems),
            missing=missing,
            memory_mib=everything.memory(),
            rows=rows,
        )


def command(given: argparse.Namespace) -> str:
    """As somebody else would type it."""
    words = ["make bench", f"ROUNDS={given.rounds}"]
    if given.quick:
        words.append("QUICK=1")
    if given.only != list(SYSTEMS):
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
