"""`python -m tests.chaos.overload`: ten times what the cell can serve, for minutes.

Whatever is urgent is still answered in time, what is begun is answered, memory does not grow, and
once the flood is over everything is soon as it was before.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any

import psutil

from shared.events.base import Priority
from tests.chaos.cell import NODES, Cell
from tests.chaos.engine import STEADY_S, prompt
from tests.chaos.tape import FINALS, INBOX, Heard, Tape

CAPACITY_PER_S = len(NODES) / STEADY_S
"""Each node has one slot for the model that is asked for."""

TIMES = 10
SHARES = {Priority.CRITICAL: 4, Priority.HIGH: 16, Priority.NORMAL: 50, Priority.LOW: 30}
"""In per cent of what is asked: the critical ones alone are well within the capacity."""

CRITICAL_MS = 10_000
OTHERS_MS = 30_000
"""How long people wait for the rest, of which most cannot be served."""

WARM_UP_SHARE = 0.2
"""The part of the flood after which memory counts as what the flood needs."""

GROWTH_SHARE, GROWTH_MIB = 0.10, 8
KEPT_BYTES = 4096
"""What the store keeps of an ended request for an hour: tombstone, result, events."""

ANSWERED_SHARE = 0.85
"""Of what was begun, at least: what begins too late to end in time is work for nobody."""

RECOVERY_S = 60.0
PROBES = 10


@dataclass
class Outcome:
    asked: int = 0
    per_s: float = 0.0
    finals: Counter[str] = field(default_factory=Counter)
    answered_share: float = 0.0
    """Of those that an engine was given."""
    critical: int = 0
    critical_p50_s: float = 0.0
    critical_max_s: float = 0.0
    grown_mib: dict[str, float] = field(default_factory=dict)
    """What each process holds at the end of the flood above what it held early in it."""
    store_bytes_a_request: float = 0.0
    recovered_s: float = 0.0
    probe_before_s: float = 0.0
    probe_after_s: float = 0.0
    wrong: list[str] = field(default_factory=list)


class Overload:
    def __init__(self, cell: Cell, minutes: float, seed: int) -> None:
        self._cell = cell
        self._flood_s = minutes * 60
        self._choice = random.Random(seed)
        self._tape = Tape(cell.store.url)
        self._client = cell.client()
        self._asked = 0
        self.outcome = Outcome()

    async def run(self) -> Outcome:
        listening = asyncio.create_task(self._tape.run())
        try:
            self.outcome.probe_before_s = await self._probe()
            await self._flood()
            await self._recover()
            self._judge()
        finally:
            self._tape.stopped = True
            listening.cancel()
            await self._client.aclose()
        return self.outcome

    async def _probe(self) -> float:
        """The median time of single requests, in seconds."""
        times_s = []
        for _ in range(PROBES):
            request_id = await self._ask(Priority.NORMAL, "probe")
            while request_id not in self._tape.ended:
                await asyncio.sleep(0.005)
            times_s.append(self._tape.ended_at_s - self._tape.accepted[request_id].at_s)
        return median(times_s)

    async def _flood(self) -> None:
        began_s, asked_before = monotonic(), self._asked
        early: dict[str, int] = {}
        early_store = (0, 0)
        while (flooded_s := monotonic() - began_s) < self._flood_s:
            due = int(flooded_s * CAPACITY_PER_S * TIMES) - (self._asked - asked_before)
            for _ in range(due):
                [priority] = self._choice.choices((*SHARES,), (*SHARES.values(),))
                await self._ask(priority, "flood")
            if not early and flooded_s > self._flood_s * WARM_UP_SHARE:
                early, early_store = self._held(), await self._stored()
            await asyncio.sleep(0.02)
        self.outcome.asked = self._asked - asked_before
        self.outcome.per_s = self.outcome.asked / self._flood_s
        self.outcome.grown_mib = {
            name: round((held - early[name]) / (1 << 20), 1) for name, held in self._held().items()
        }
        self._judge_memory(early)
        stored, ended = await self._stored()
        more = (stored - early_store[0]) / max(1, ended - early_store[1])
        self.outcome.store_bytes_a_request = round(more)

    async def _recover(self) -> None:
        """Nothing of the flood waits any more, and a single request takes what it took before."""
        began_s = monotonic()
        while self._tape.open and monotonic() - began_s < 2 * RECOVERY_S:
            await asyncio.sleep(0.05)
        self.outcome.probe_after_s = await self._probe()
        self.outcome.recovered_s = monotonic() - began_s

    async def _ask(self, priority: Priority, why: str) -> str:
        self._asked += 1
        request_id = f"{why}-{self._asked}"
        content = prompt(self._asked, self._choice.randrange(500))
        fields: dict[Any, Any] = {
            "id": request_id,
            "model": "steady",
            "priority": priority,
            "deadlinems": str(CRITICAL_MS if priority is Priority.CRITICAL else OTHERS_MS),
            "data": json.dumps({"input": {"messages": [{"role": "user", "content": content}]}}),
        }
        await self._client.xadd(INBOX, fields)
        return request_id

    def _held(self) -> dict[str, int]:
        """Resident memory by process, in bytes."""
        return {
            name: psutil.Process(member.child.pid).memory_info().rss
            for name, member in self._cell.members.items()
        }

    async def _stored(self) -> tuple[int, int]:
        info = await self._client.info("memory")
        return int(info["used_memory"]), len(self._tape.ended)

    def _judge_memory(self, early: dict[str, int]) -> None:
        for name, grown_mib in self.outcome.grown_mib.items():
            bound_mib = max(GROWTH_MIB, early[name] / (1 << 20) * GROWTH_SHARE)
            if grown_mib > bound_mib:
                self.outcome.wrong.append(f"{name} grew by {grown_mib} MiB")

    def _judge(self) -> None:
        outcome, heard = self.outcome, self._tape.heard
        ends = {each.attributes["subject"]: each for name in FINALS for each in heard[name]}
        outcome.finals = Counter(_outcome(each) for each in ends.values())
        begun = [each for each in ends.values() if "dispatchedms" in each.attributes]
        answered = [each for each in begun if _outcome(each) == "completed"]
        outcome.answered_share = round(len(answered) / len(begun), 3)
        urgent = {
            request_id: asked
            for request_id, asked in self._tape.accepted.items()
            if asked.attributes["priority"] == Priority.CRITICAL
        }
        times_s = [ends[each].at_s - asked.at_s for each, asked in urgent.items() if each in ends]
        outcome.critical = len(urgent)
        outcome.critical_p50_s, outcome.critical_max_s = median(times_s), max(times_s)
        outcome.wrong += [what for each in urgent if (what := _unanswered(each, ends))]
        if len(ends) != len(self._tape.accepted):
            outcome.wrong.append(f"{len(self._tape.accepted) - len(ends)} requests did not end")
        if outcome.critical_max_s * 1000 > CRITICAL_MS:
            outcome.wrong.append(f"a critical answer took {outcome.critical_max_s:.1f} s")
        if outcome.answered_share < ANSWERED_SHARE:
            outcome.wrong.append(
                f"only {outcome.answered_share:.0%} of what was begun was answered"
            )
        if outcome.store_bytes_a_request > KEPT_BYTES:
            outcome.wrong.append(f"the store keeps {outcome.store_bytes_a_request} B a request")
        if outcome.recovered_s > RECOVERY_S:
            outcome.wrong.append(f"recovered only after {outcome.recovered_s:.0f} s")
        if outcome.probe_after_s > 1.5 * outcome.probe_before_s + 0.1:
            outcome.wrong.append(f"a request still takes {outcome.probe_after_s:.2f} s")


def _unanswered(request_id: str, ends: dict[str, Heard]) -> str:
    end = ends.get(request_id)
    if end is None or _outcome(end) == "completed":
        return ""
    return f"{request_id} was critical, and {end.attributes['type']}: {end.data}"


def _outcome(end: Heard) -> str:
    return end.attributes["type"].split(".")[1]


async def overload(folder: Path, minutes: float, seed: int) -> Outcome:
    async with Cell(folder, seed) as cell:
        return await Overload(cell, minutes, seed).run()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.overload", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    sys.stdout.write(f"make overload MINUTES={options.minutes:g} ARGS=--seed={options.seed}\n")
    folder = Path(tempfile.mkdtemp(prefix="overload-"))
    outcome = asyncio.run(overload(folder, options.minutes, options.seed))
    for name, value in vars(outcome).items():
        sys.stdout.write(f"{name:24}{value}\n")
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
