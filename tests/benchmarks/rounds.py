"""The measuring itself: every case on every system in turn, and all that again."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.benchmarks import meter
from tests.benchmarks.load import Load
from tests.benchmarks.orders import Order, Seen, Shape, Way
from tests.benchmarks.systems import System

AGAIN_S = 0.3
"""Warming up of a system that was used before: its connections, and caches of the machine."""

WARM_IN_FLIGHT = 8
SETTLE_S = 0.25
"""In which what a request leaves behind is done with: audit rows, trimmed streams."""

ENGINE = "engine"
BENCH = "load"


@dataclass(frozen=True)
class Case:
    shape: Shape
    in_flight: int
    crowded: bool = False
    """Whether others wait meanwhile, for another model."""

    def __str__(self) -> str:
        return f"{self.shape}, {self.in_flight} in flight"


ONE = 1
MANY = 32
CASES = (
    Case(Shape.PLAIN, ONE),
    Case(Shape.PLAIN, MANY),
    Case(Shape.CHUNKS, ONE),
    Case(Shape.CHUNKS, MANY),
    Case(Shape.PACED_CHUNKS, MANY),
)
CROWDED = (Case(Shape.PLAIN, MANY, crowded=True),)


@dataclass(frozen=True)
class Sample:
    """One case on one system once. `cpu_ms` is per request, by process, the engine's apart."""

    seen: Seen
    cpu_ms: Mapping[str, float]
    engine_ms: float
    foreign: float

    @property
    def total_ms(self) -> float:
        return sum(self.cpu_ms.values())

    @property
    def trusted(self) -> bool:
        return self.foreign <= meter.MOST_FOREIGN and not self.seen.failures


@dataclass(frozen=True)
class Row:
    """All samples of one case on one system, one a round."""

    system: str
    way: Way
    case: Case
    samples: list[Sample] = field(default_factory=list)


@dataclass(frozen=True)
class Bench:
    """Everything that runs meanwhile."""

    load: Load
    engine_pid: int
    systems: Sequence[System]
    expected: str
    say: Callable[[str], None]

    async def rounds(self, number: int, seconds: float, cases: Sequence[Case]) -> list[Row]:
        rows = [
            Row(system.name, way, case)
            for case in cases
            for system in self.systems
            for way in system.addresses
        ]
        systems = {system.name: system for system in self.systems}
        await self._warm_up()
        for count in range(1, number + 1):
            for row in rows:
                sample = await self._measure(systems[row.system], row, seconds)
                row.samples.append(sample)
                self.say(f"round {count}/{number}  {_line(row, sample)}")
        return rows

    def memory(self) -> dict[str, dict[str, float]]:
        """MiB of every system, by process."""
        return {system.name: meter.pss_mib(system.pids) for system in self.systems}

    async def _warm_up(self) -> None:
        for system in self.systems:
            self.say(f"warming up {system.name} {system.version}".rstrip())
            for way in system.addresses:
                for shape in (Shape.PLAIN, Shape.CHUNKS):
                    order = self._order(system, way, Case(shape, WARM_IN_FLIGHT), system.warm_s)
                    await self.load.carry_out(order)

    async def _measure(self, system: System, row: Row, seconds: float) -> Sample:
        await self.load.carry_out(self._order(system, row.way, row.case, AGAIN_S))
        pids = self._pids()
        before = meter.read(pids)
        seen = await self.load.carry_out(self._order(system, row.way, row.case, seconds))
        await asyncio.sleep(SETTLE_S)
        used = meter.used(before, meter.read(pids))
        requests = max(1, seen.requests)
        by_name = {name: used_s * 1000 / requests for name, used_s in used.by_name.items()}
        mine = {name: by_name[_apart(system, name)] for name in system.pids}
        return Sample(seen, mine, by_name[ENGINE], used.foreign)

    def _pids(self) -> dict[str, int]:
        others = {ENGINE: self.engine_pid, BENCH: self.load.process.pid}
        return others | {
            _apart(system, name): pid
            for system in self.systems
            for name, pid in system.pids.items()
        }

    def _order(self, system: System, way: Way, case: Case, seconds: float) -> Order:
        return Order(
            way=way,
            address=system.addresses[way],
            shape=case.shape,
            in_flight=case.in_flight,
            seconds=seconds,
            expected=self.expected,
            authorization=system.authorization,
        )


def _apart(system: System, process: str) -> str:
    return f"{system.name}/{process}"


def _line(row: Row, sample: Sample) -> str:
    """For whoever watches."""
    name = f"{row.system} by {row.way}"
    text = (
        f"{row.case!s:38} {name:24} {sample.total_ms:8.3f} CPU ms  p50 {sample.seen.p50_ms:.2f} ms"
    )
    if sample.seen.failures:
        return f"{text}  FAILED: {next(iter(sample.seen.failures))}"
    return text if sample.trusted else f"{text}  (others used {sample.foreign:.0%} of the machine)"
