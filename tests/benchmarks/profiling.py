"""`make profile`: where the services spend their time while 32 requests are in flight.

py-spy looks at each service a hundred times a second; it is installed on demand, in an environment
of its own. The store says itself what its commands cost.
"""

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL, PIPE

import redis.asyncio
import uvloop

from cli.address import ROOT
from tests.benchmarks import ours
from tests.benchmarks.__main__ import CHUNK_S, CHUNKS
from tests.benchmarks.engine import last_word
from tests.benchmarks.installing import environment
from tests.benchmarks.load import Load
from tests.benchmarks.orders import Order, Shape, Way
from tests.benchmarks.report import table
from tests.benchmarks.rounds import MANY
from tests.benchmarks.systems import NotHereError, Site, System, engine

NOT_PYTHON = {"valkey", "postgres"}
NOT_OURS = {"supervisor"}
WARM_S = 2.0
TOP = 15
PY_SPY = "py-spy==0.4.3"


@dataclass
class Profile:
    """Samples of one process: by function that ran, and by function that it ran below."""

    samples: int = 0
    itself: Counter[str] = field(default_factory=Counter)
    below: Counter[str] = field(default_factory=Counter)
    parts: Counter[str] = field(default_factory=Counter)

    @classmethod
    def read(cls, folded: str) -> "Profile":
        """`folded` has a line for each stack: frames from the outermost on, and how often."""
        profile = cls()
        for line in folded.splitlines():
            stack, _, number = line.rpartition(" ")
            frames, count = stack.split(";"), int(number)
            profile.samples += count
            profile.itself[frames[-1]] += count
            profile.parts[_part(frames[-1])] += count
            for frame in set(frames):
                profile.below[frame] += count
        return profile

    def markdown(self) -> Iterator[str]:
        yield f"{self.samples} samples.\n"
        yield from table(("part", "share"), self._shares(self.parts.most_common(TOP)))
        yield from table(("function itself", "share"), self._shares(self.itself.most_common(TOP)))
        own = ((frame, count) for frame, count in self.below.most_common() if _is_own(frame))
        first = [pair for pair, _ in zip(own, range(TOP), strict=False)]
        yield from table(("our function, with all it calls", "share"), self._shares(first))

    def _shares(self, counts: Iterable[tuple[str, int]]) -> Iterator[tuple[str, str]]:
        for frame, count in counts:
            yield f"`{frame}`", f"{count / self.samples:.1%}"


def _is_own(frame: str) -> bool:
    return _part(frame) in ("services", "shared")


def _part(frame: str) -> str:
    """Whose code a frame is: `services`, `shared`, or the package."""
    path = Path(frame.rpartition(" (")[2].rstrip(")").partition(":")[0])
    return path.parts[0] if len(path.parts) > 1 else path.name


@dataclass(frozen=True)
class Profiler:
    """Takes profiles of all services of a system while it works."""

    binary: Path
    load: Load
    folder: Path
    seconds: float

    async def profile(self, system: System, way: Way, shape: Shape) -> Iterator[str]:
        await self.load.carry_out(self._order(system, way, shape, WARM_S))
        store = redis.asyncio.Redis.from_url(system.addresses[Way.STREAM], decode_responses=True)
        await store.config_resetstat()
        services = [name for name in system.pids if name not in NOT_PYTHON | NOT_OURS]
        order = self._order(system, way, shape, self.seconds + 1)
        seen, profiles = await asyncio.gather(
            self.load.carry_out(order),
            asyncio.gather(*(self._watch(system.pids[name]) for name in services)),
        )
        if seen.failures:
            raise NotHereError(f"requests failed: {next(iter(seen.failures))}")
        title = f"{system.name}, by {way}: {shape}, {MANY} in flight"
        lines = [f"## {title}\n"]
        for name, profile in zip(services, profiles, strict=True):
            lines += [f"### {name}\n", *profile.markdown()]
        lines += ["### valkey, by its own account\n", *await _commands(store, seen.requests)]
        await store.aclose()
        return iter(lines)

    async def _watch(self, pid: int) -> Profile:
        file = self.folder / f"{pid}.folded"
        command = (str(self.binary), "record", "--pid", str(pid), "--format", "raw", "--function")
        options = ("--nonblocking", "--duration", f"{self.seconds:.0f}", "--output", str(file))
        process = await asyncio.create_subprocess_exec(
            *command, *options, stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE
        )
        _, said = await process.communicate()
        if process.returncode:
            why = said.decode(errors="replace").strip()
            raise NotHereError(f"py-spy could not look into a process (try as root): {why}")
        return Profile.read(file.read_text())

    def _order(self, system: System, way: Way, shape: Shape, seconds: float) -> Order:
        address, expected = system.addresses[way], last_word(CHUNKS)
        return Order(way, address, shape, MANY, seconds, expected, system.authorization)


async def _commands(store: redis.asyncio.Redis, requests: int) -> list[str]:
    facts = await store.info("commandstats")
    stats = sorted(facts.items(), key=lambda item: -item[1]["usec"])[:TOP]
    lines = (
        (
            f"`{name.removeprefix('cmdstat_')}`",
            f"{each['calls'] / requests:.2f}",
            f"{each['usec_per_call']:.1f}",
            f"{each['usec'] / requests:.1f}",
        )
        for name, each in stats
    )
    head = ("command", "calls per request", "µs per call", "µs per request")
    return list(table(head, lines))


async def take(given: argparse.Namespace, folder: Path) -> str:
    home = await environment(given.cache, "py-spy", PY_SPY)
    start = ours.compact if given.compact else ours.processes
    async with AsyncExitStack() as stack:
        engine_url, _ = await stack.enter_async_context(engine(CHUNKS, CHUNK_S))
        system = await stack.enter_async_context(start(Site(folder, given.cache, engine_url)))
        load = await Load.start()
        stack.push_async_callback(load.end)
        profiler = Profiler(home / "bin" / "py-spy", load, folder, given.seconds)
        lines = [f"# Where the time goes\n\n{system.name} {system.version}.\n"]
        for shape in Shape:
            lines += await profiler.profile(system, Way.HTTP, shape)
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Where the services spend their time.")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each shape")
    parser.add_argument("--compact", action="store_true")
    parser.add_argument("--out", type=Path, help="a file; default: the terminal")
    parser.add_argument("--cache", type=Path, default=ROOT / ".roundhouse-bench")
    given = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="roundhouse-profile-") as folder:
            text = uvloop.run(take(given, Path(folder)))
    except NotHereError as why:
        sys.exit(f"No profile: {why}.")
    if given.out:
        given.out.write_text(text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
