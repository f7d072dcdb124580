"""What was measured, for people (Markdown) and for programs (JSON)."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks.figures import DIRECT, LITELLM, P4, Rows, Spread, Target, crowds
from tests.benchmarks.meter import MOST_FOREIGN
from tests.benchmarks.rounds import Row

OURS = "ours"
TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True)
class Report:
    """One run. `versions` of everything that was measured or used, `missing` with the reason."""

    command: str
    date: str
    machine: str
    rounds: int
    seconds: float
    versions: Mapping[str, str]
    missing: Mapping[str, str]
    memory_mib: Mapping[str, Mapping[str, float]]
    rows: Sequence[Row] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "performance.md").write_text(self.markdown())
        (folder / "performance.json").write_text(json.dumps(self.document(), indent=1) + "\n")

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def untrusted(self) -> int:
        return sum(not sample.trusted for row in self.rows for sample in row.samples)

    @property
    def samples(self) -> int:
        return sum(len(row.samples) for row in self.rows)

    def markdown(self) -> str:
        rows = Rows([row for row in self.rows if not row.case.crowded])
        parts = [
            HEAD.format(**vars(self)),
            *self._doubts(),
            "## Floors and goals\n",
            *table(("figure", "floor", "goal", *_names(rows)), _targets(rows)),
            CPU_HEAD,
            *table(("", *map(str, rows.cases)), _cpu(rows)),
            RATIO_HEAD,
            *table(("", *map(str, rows.cases)), _ratios(rows)),
            LATENCY_HEAD,
            *table(("", *map(str, rows.cases)), _latency(rows)),
            *self._processes(rows),
            *self._crowds(),
            "## Memory\n",
            "MiB at the end of the run, what is shared counted in part (Pss).\n",
            *table(("", "MiB", "of which"), self._memory()),
            "## Versions\n",
            *table(("", "version"), self.versions.items()),
            *(
                f"Not measured: {name}, since {why.splitlines()[0]}\n"
                for name, why in self.missing.items()
            ),
        ]
        return "\n".join(parts).rstrip() + "\n"

    def _doubts(self) -> Iterator[str]:
        if self.untrusted:
            yield (
                f"**The machine was too busy, or something failed, in {self.untrusted} of"
                f" {self.samples} measurements**: others used more than {MOST_FOREIGN:.0%} of it."
                " These are left out where most of a row can be trusted; elsewhere the row rests"
                " on them. Measure again on a quiet machine before relying on it.\n"
            )

    def _processes(self, rows: Rows) -> Iterator[str]:
        for name, way in rows.ways:
            if not name.startswith(OURS):
                continue
            found = [rows.find(name, way, case) for case in rows.cases]
            costs = [rows.by_process_ms(row) if row else {} for row in found]
            lines = (
                (process, *(f"{cost[process]:.3f}" if process in cost else "" for cost in costs))
                for process in dict.fromkeys(process for cost in costs for process in cost)
            )
            yield f"### {name}, by {way}: CPU ms per request, by process\n"
            yield from table(("", *map(str, rows.cases)), lines)

    def _crowds(self) -> Iterator[str]:
        if found := crowds([row for row in self.rows if row.case.crowded]):
            yield CROWD_HEAD
            lines = (
                (each.row.system, str(each.cpu_ms or ""), str(each.ratio or "")) for each in found
            )
            yield from table(("", "CPU ms per request", "compared with the first"), lines)
        if found and (most := found[-1].ratio):
            floor, goal, value = _against(P4, most)
            yield f"{P4.name}, {P4.what}: {value}. Floor {floor}, goal {goal}.\n"

    def _memory(self) -> Iterator[tuple[str, ...]]:
        for name, processes in self.memory_mib.items():
            each = ", ".join(f"{process} {mib:.0f}" for process, mib in processes.items())
            yield name, f"{sum(processes.values()):.0f}", each if len(processes) > 1 else ""


HEAD = """\
# What a request costs

Written by `{command}` on {date}: {rounds} rounds of {seconds:g} s for each figure, all systems in
turn within a round, in front of the same mock engine, whose own cost is left out. Median over the
rounds, and in brackets the middle half of them. Ratios are taken within a round. CPU time is
user and kernel time of all processes of a system; it is the figure to trust, since wall times on
a shared machine are noise.

Machine: {machine}.
"""

CPU_HEAD = """\
## CPU

Milliseconds per request, which is seconds per 1000 requests. `direct` is what the mock engine
itself uses; it is in no other figure.
"""

RATIO_HEAD = """\
## CPU, compared with LiteLLM

How many times more a request costs there.
"""

LATENCY_HEAD = """\
## Added latency

p50 / p99 in milliseconds, above that of the engine asked directly in the same round. With 32 in
flight the machine is saturated, so this is throughput seen from below.
"""


CROWD_HEAD = """\
## While others wait

A plane for each line, with so many LOW requests that wait for a model that never answers. What is
measured is the cost of others beside them: plain, 32 in flight, by HTTP.
"""


def _names(rows: Rows) -> list[str]:
    return [f"{name}, by {way}" for name, way in rows.ways if name.startswith(OURS)]


def _targets(rows: Rows) -> Iterator[tuple[str, ...]]:
    each = [rows.against_targets(name, way) for name, way in rows.ways if name.startswith(OURS)]
    for line in zip(*each, strict=True):
        target = line[0][0]
        values = [_against(target, value) for _, value in line]
        floor, goal, _ = values[0]
        yield f"{target.name}: {target.what}", floor, goal, *(value for _, _, value in values)


def _against(target: Target, found: Spread | None) -> tuple[str, str, str]:
    """A target's floor, its goal, and what was found, with its verdict."""
    sign, unit = "≥" if target.at_least else "≤", " ms" if target.in_ms else TIMES
    value = f"{found.median:.3g}{unit} ({target.verdict(found.median)})" if found else ""
    return f"{sign} {target.floor:g}{unit}", f"{sign} {target.goal:g}{unit}", value


def _cpu(rows: Rows) -> Iterator[tuple[str, ...]]:
    return _each(rows, rows.cpu_ms)


def _ratios(rows: Rows) -> Iterator[tuple[str, ...]]:
    for line in _each(rows, lambda row: rows.ratio(LITELLM, row)):
        if any(line[1:]) and not line[0].startswith((LITELLM, DIRECT)):
            yield line


def _latency(rows: Rows) -> Iterator[tuple[str, ...]]:
    def both(row: Row) -> str:
        p50, p99 = rows.added_ms(row, "p50_ms"), rows.added_ms(row, "p99_ms")
        return f"{p50.median:.2f} / {p99.median:.2f}" if p50 and p99 else ""

    for name, way in rows.ways:
        if name != DIRECT:
            found = (rows.find(name, way, case) for case in rows.cases)
            yield f"{name}, by {way}", *(both(row) if row else "" for row in found)


def _each(rows: Rows, figure: Any) -> Iterator[tuple[str, ...]]:
    for name, way in rows.ways:
        values: list[Spread | None] = [
            figure(row) if (row := rows.find(name, way, case)) else None for case in rows.cases
        ]
        yield f"{name}, by {way}", *(str(value) if value else "" for value in values)


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for line in lines:
        yield f"| {' | '.join(line)} |"
    yield ""
