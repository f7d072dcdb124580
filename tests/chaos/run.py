"""One run: a cell, its load and its faults, and what the checker found."""

import asyncio
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from tests.chaos import trail
from tests.chaos.cell import KEYS, Cell
from tests.chaos.checker import Evidence, stories, told_twice, violations
from tests.chaos.faults import Faults
from tests.chaos.load import Load
from tests.chaos.plan import TWO_HOURS_S, Kind, Plan, shortfall
from tests.chaos.replies import Share, share
from tests.chaos.tape import CONTRACTS, FINALS, Tape

MOST_OPEN = 150
"""Requests that may be under way; more are only asked when some have ended."""

REQUESTS_PER_S = 80.0
"""So that faults have time to do harm; a slower machine asks more slowly."""

FAULTS_AT_A_TIME = 4
STUCK_S = 60.0
DRAIN_S = 90.0
QUIET_S = 2.5
"""After the last end, for zombies to speak up."""

Say = Callable[[str], None]


class StuckError(AssertionError):
    """Requests that were accepted do not end."""


@dataclass
class Result:
    seed: int
    requests: int
    took_s: float = 0.0
    planned: Counter[str] = field(default_factory=Counter)
    """Faults, by sort."""
    faults: Counter[str] = field(default_factory=Counter)
    """Those that were carried out."""
    left_out: Counter[str] = field(default_factory=Counter)
    accepted: int = 0
    finals: Counter[str] = field(default_factory=Counter)
    attempts: Counter[int] = field(default_factory=Counter)
    doubled: int = 0
    reborn: int = 0
    """Published again after the clock had leapt over all the time that an id is remembered."""
    missing: int = 0
    replies: Share = field(default_factory=Share)
    audit_rows: int | None = None
    takeovers_s: list[float] = field(default_factory=list)
    drained_s: float = 0.0
    deaths: Counter[str] = field(default_factory=Counter)
    """Processes that ended by themselves."""
    statuses: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.wrong


class Run:
    def __init__(self, plan: Plan, folder: Path, say: Say) -> None:
        self._plan = plan
        self._say = say
        self._folder = folder
        self._cell = Cell(folder, plan.seed)
        self._tape = Tape(self._cell.store.url)

    async def run(self) -> Result:
        result = Result(self._plan.seed, len(self._plan.asks))
        result.planned = Counter(fault.sort for fault in self._plan.faults)
        async with self._cell:
            began_s = monotonic()
            load, faults = Load(self._cell, self._plan.seed), Faults(self._cell)
            listening = asyncio.create_task(self._tape.run())
            try:
                await self._play(load, faults)
                await faults.over()
                result.wrong += shortfall(result.requests, faults.struck)
                await self._drain(load, result)
                await self._judge(load, result)
            except StuckError as stuck:
                result.wrong.append(str(stuck))
            finally:
                self._tape.stopped = True
                listening.cancel()
                await load.close()
            result.wrong += [f"a fault could not be done: {each}" for each in faults.broken]
            if result.wrong:
                self._tape.write(self._folder / "tape.jsonl")
                shutil.copytree(self._cell.store.folder, self._folder / "store")
            result.took_s = monotonic() - began_s
            result.faults, result.left_out = faults.struck, faults.left_out
            result.takeovers_s, result.statuses = faults.takeovers_s, load.statuses
            result.deaths = Counter({m.name: m.deaths for m in self._cell.members.values()})
        return result

    async def _play(self, load: Load, faults: Faults) -> None:
        """The schedule: each fault once as many requests were submitted as it says."""
        coming = list(self._plan.faults)
        began_s = said_s = monotonic()
        for ask in self._plan.asks:
            while coming and coming[0].at <= ask.number:
                fault = coming.pop(0)
                await faults.calm(FAULTS_AT_A_TIME - 1)
                if fault.kind is Kind.JUMP and fault.for_s == TWO_HOURS_S:
                    self._tape.leap()
                faults.strike(fault)
            await self._room()
            await load.submit(ask)
            await asyncio.sleep(max(0.0, began_s + ask.number / REQUESTS_PER_S - monotonic()))
            if monotonic() - said_s > 10:
                said_s = monotonic()
                self._say(
                    f"  {said_s - began_s:4.0f} s: {ask.number} asked, {self._tape.open} open,"
                    f" {faults.struck.total()} faults"
                )

    async def _room(self) -> None:
        """Wait for ends while too much is open."""
        since_s = monotonic()
        while self._tape.open >= MOST_OPEN:
            if monotonic() - max(since_s, self._tape.ended_at_s) > STUCK_S:
                raise StuckError(f"no request has ended for {STUCK_S:.0f} s")
            await asyncio.sleep(0.01)

    async def _drain(self, load: Load, result: Result) -> None:
        """With everything healed, whatever was accepted ends soon."""
        began_s = monotonic()
        self._say(f"  all asked; {self._tape.open} open")
        answered = asyncio.create_task(load.over())
        while self._tape.open or not answered.done():
            await asyncio.sleep(0.05)
            if monotonic() - began_s > DRAIN_S:
                answered.cancel()
                left = sorted(self._tape.accepted.keys() - self._tape.ended)
                raise StuckError(
                    f"{len(left)} requests have not ended {DRAIN_S:.0f} s after the last fault,"
                    f" such as {left[:5]}; clients answered: {answered.done()}"
                )
        await answered
        result.drained_s = monotonic() - began_s
        await asyncio.sleep(QUIET_S)
        await self._record()

    async def _record(self) -> None:
        """The trail catches up with what has ended."""
        began_s = monotonic()
        while await asyncio.to_thread(trail.recorded, self._cell.postgres) < len(self._tape.ended):
            if monotonic() - began_s > DRAIN_S:
                return  # the checker says what is missing
            await asyncio.sleep(0.1)

    async def _judge(self, load: Load, result: Result) -> None:
        await self._tape.reckoned()
        for stream in CONTRACTS:
            if missed := self._tape.missed[stream]:
                result.wrong.append(f"the tape lacks {missed} entries of {stream}")
        async with self._cell.client() as client:
            if held := await client.zcard(KEYS.flight):
                result.wrong.append(f"{held} attempts still hold a slot")
        rows = await asyncio.to_thread(trail.read, self._cell.postgres)
        trace = self._cell.trace()
        evidence = Evidence(self._tape, load.promised, load.answers, trace, rows)
        result.audit_rows = len(rows.requests)
        result.wrong += violations(evidence)
        told, twice = stories(self._tape), told_twice(self._tape)
        result.replies = share(self._tape, told)
        if not result.replies.is_enough:
            result.wrong.append(f"only {result.replies} of the replies were heard whole")
        result.accepted = len(self._tape.accepted)
        result.finals = Counter(
            {each.split(".")[-2]: len(self._tape.heard[each]) for each in FINALS}
        )
        result.attempts = Counter(len(story.routed) for story in told.values())
        doubled = {each for each, story in told.items() if len(story.finals) > 1}
        result.doubled = len(doubled - twice)
        result.reborn = len(doubled & twice)
        result.missing = len(self._tape.accepted.keys() - told.keys())
