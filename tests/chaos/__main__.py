"""`python -m tests.chaos`: what `make chaos` runs. A run that fails keeps its logs."""

import argparse
import asyncio
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.chaos import mutant, report
from tests.chaos.cell import TIMING
from tests.chaos.plan import plan
from tests.chaos.run import Result, Run

DOCUMENTS = Path(__file__).parents[2] / "docs" / "benchmarks"
MUTANT_REQUESTS = 2_000
SHOWN = 20
"""Findings that are printed of a failed run."""


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and end what was started
    seeds = range(options.seed, options.seed + options.seeds)
    if options.dry:
        for seed in seeds:
            say("\n".join([f"seed {seed}", *map(str, plan(seed, options.requests).faults)]))
        return 0
    if options.mutant:
        return 0 if _is_found_out(_break(options.seed)) else 1
    results = [_run(seed, options.requests) for seed in seeds]
    rows = [report.row(result) for result in results]
    say("\n".join(["", *report.table(rows), "", *report.fault_table(results)]))
    if options.json:
        found = [row | {"found": each.wrong} for row, each in zip(rows, results, strict=True)]
        options.json.write_text(json.dumps(found))
    if options.report:
        broken = _break(options.seed)
        report.write(DOCUMENTS, results, broken, TIMING.router_lease_s)
        if not _is_found_out(broken):
            return 1
    return 0 if all(result.passed for result in results) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="how many runs")
    parser.add_argument("--seed", type=int, default=1, help="the first run's seed")
    parser.add_argument("--requests", type=int, default=10_000, help="of each run")
    parser.add_argument("--dry", action="store_true", help="only print the schedules")
    parser.add_argument("--report", action="store_true", help=f"write {DOCUMENTS.name}/chaos.md")
    parser.add_argument("--json", type=Path, help="write the rows of the table there")
    parser.add_argument("--mutant", action="store_true", help="take the fence out: must fail")
    return parser.parse_args()


def _run(seed: int, requests: int) -> Result:
    planned = plan(seed, requests)
    folder = Path(tempfile.mkdtemp(prefix=f"chaos-{seed}-"))
    say(f"seed {seed}: {requests} requests, {len(planned.faults)} faults; {planned.replay}")
    try:
        result = asyncio.run(Run(planned, folder, say).run())
    except BaseException as error:  # of the harness, or a signal
        say(f"  seed {seed} broke off: {error!r}\n    logs: {folder}\n    replay: {planned.replay}")
        raise
    for why, count in result.left_out.items():
        say(f"  left out {count} x {why}")
    if result.passed:
        shutil.rmtree(folder)
        say(f"  passed in {result.took_s:.0f} s")
    else:
        found = [f"  seed {seed}: {len(result.wrong)} findings:", *result.wrong[:SHOWN]]
        say("\n    ".join([*found, f"logs and tape: {folder}", f"replay: {planned.replay}"]))
    return result


def _break(seed: int) -> dict[str, object]:
    say(f"seed {seed} without the fence of {mutant.SCRIPT}, which must fail:")
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        return mutant.run(Path(folder), seed, MUTANT_REQUESTS)


def _is_found_out(broken: dict[str, object]) -> bool:
    found = broken["found"]
    assert isinstance(found, Sequence)
    say(f"without the fence: {broken['doubled']} requests ended twice, {len(found)} findings")
    return any(" ends" in each for each in found)


if __name__ == "__main__":
    sys.exit(main())
