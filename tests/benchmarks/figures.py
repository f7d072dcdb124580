"""From samples to figures: medians over rounds, ratios within a round."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from tests.benchmarks.orders import Shape, Way
from tests.benchmarks.rounds import MANY, ONE, Case, Row, Sample

DIRECT = "direct"
LITELLM = "LiteLLM"


@dataclass(frozen=True)
class Spread:
    """The median of several rounds, and the middle half of them."""

    median: float
    middle_half: tuple[float, float] | None
    """None where there was only one round."""

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        if len(values) == 1:
            return cls(values[0], None)
        low, middle, high = quantiles(values, n=4, method="inclusive")
        return cls(middle, (low, high))

    def __str__(self) -> str:
        if self.middle_half is None:
            return f"{self.median:.3g}"
        low, high = self.middle_half
        return f"{self.median:.3g} ({low:.3g} to {high:.3g})"


@dataclass(frozen=True)
class Target:
    """A figure to reach; `at_least` where more is better."""

    name: str
    what: str
    floor: float
    goal: float
    at_least: bool
    in_ms: bool = False
    """A time; else how many times as much."""

    def verdict(self, value: float) -> str:
        for reached, bound in (("goal", self.goal), ("floor", self.floor)):
            if value >= bound if self.at_least else value <= bound:
                return reached
        return "missed"


P1 = Target("P1", "CPU of LiteLLM / ours, plain, 32 in flight", 12, 30, at_least=True)
P2_UNPACED = Target("P2", "the same, 50 chunks at once, 32 streams", 40, 75, at_least=True)
P2_PACED = Target("P2", "the same, 50 chunks, 10 ms each, 32 streams", 15, 30, at_least=True)
P3 = Target("P3", "added latency p50, ms, plain, one in flight", 3, 1.5, at_least=False, in_ms=True)
P4 = Target("P4", "CPU beside the most that wait / beside the fewest", 1.2, 1.0, at_least=False)

RATIOS = (
    (P1, Case(Shape.PLAIN, MANY)),
    (P2_UNPACED, Case(Shape.CHUNKS, MANY)),
    (P2_PACED, Case(Shape.PACED_CHUNKS, MANY)),
)


@dataclass(frozen=True)
class Rows:
    """All rows of a run, found by what they measured."""

    rows: Sequence[Row]

    def find(self, system: str, way: Way, case: Case) -> Row | None:
        for row in self.rows:
            if (row.system, row.way, row.case) == (system, way, case):
                return row
        return None

    @property
    def cases(self) -> list[Case]:
        return list(dict.fromkeys(row.case for row in self.rows))

    @property
    def ways(self) -> list[tuple[str, Way]]:
        """Each way into each system, in the order measured."""
        return list(dict.fromkeys((row.system, row.way) for row in self.rows))

    def cpu_ms(self, row: Row) -> Spread | None:
        """Per request; for `direct` the engine's own, which all other figures leave out."""
        if row.system == DIRECT:
            return _spread(sample.engine_ms for sample in usable(row))
        return _spread(sample.total_ms for sample in usable(row))

    def by_process_ms(self, row: Row) -> dict[str, float]:
        samples = usable(row)
        names = samples[0].cpu_ms if samples else ()
        return {name: median(sample.cpu_ms[name] for sample in samples) for name in names}

    def added_ms(self, row: Row, percentile: str) -> Spread | None:
        """What a system adds to the engine's own latency in the same round."""
        direct = self.find(DIRECT, Way.HTTP, row.case)
        if direct is None:
            return None
        return _spread(
            getattr(mine.seen, percentile) - getattr(bare.seen, percentile)
            for mine, bare in _pairs(row, direct)
        )

    def ratio(self, dearer: str, row: Row) -> Spread | None:
        """How much more CPU a request costs there than in `row`, in the same rounds."""
        other = self.find(dearer, Way.HTTP, row.case)
        if other is None:
            return None
        return _spread(
            theirs.total_ms / mine.total_ms for mine, theirs in _pairs(row, other) if mine.total_ms
        )

    def against_targets(self, system: str, way: Way) -> list[tuple[Target, Spread | None]]:
        """P1, P2 and P3, in that order."""
        found: list[tuple[Target, Spread | None]] = []
        for target, case in RATIOS:
            row = self.find(system, way, case)
            found.append((target, self.ratio(LITELLM, row) if row else None))
        row = self.find(system, way, Case(Shape.PLAIN, ONE))
        return [*found, (P3, self.added_ms(row, "p50_ms") if row else None)]


@dataclass(frozen=True)
class Crowd:
    """What a request costs beside so many that wait; `ratio` to what it costs beside the fewest."""

    row: Row
    cpu_ms: Spread | None
    ratio: Spread | None


def crowds(rows: Sequence[Row]) -> list[Crowd]:
    """In the order measured, the fewest first. The last one's ratio is P4."""
    return [
        Crowd(
            row,
            _spread(sample.total_ms for sample in usable(row)),
            _spread(more.total_ms / few.total_ms for few, more in _pairs(rows[0], row)),
        )
        for row in rows
    ]


def usable(row: Row) -> list[Sample]:
    """The samples that can be trusted; all that are complete where fewer than half can be."""
    complete = [sample for sample in row.samples if not sample.seen.failures]
    trusted = [sample for sample in complete if sample.trusted]
    return trusted if 2 * len(trusted) > len(row.samples) else complete


def _pairs(one: Row, other: Row) -> list[tuple[Sample, Sample]]:
    """Samples of the same rounds, by the same rule."""
    pairs = list(zip(one.samples, other.samples, strict=True))
    complete = [pair for pair in pairs if not any(each.seen.failures for each in pair)]
    trusted = [pair for pair in complete if all(each.trusted for each in pair)]
    return trusted if 2 * len(trusted) > len(pairs) else complete


def _spread(values: Iterable[float]) -> Spread | None:
    found = list(values)
    return Spread.of(found) if found else None
