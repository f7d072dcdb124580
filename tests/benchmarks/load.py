"""The generator of load, a process of its own so that its cost is nobody else's.

It reads orders from its input, one a line, and answers each with what it saw.
"""

import asyncio
import sys
from dataclasses import dataclass
from subprocess import PIPE

import uvloop

from tests.benchmarks import http_load, stream_load
from tests.benchmarks.orders import Order, Seen, Way

DRAIN_S = 60.0
"""Longer than any answer takes."""

CARRY_OUT = {Way.HTTP: http_load.carry_out, Way.STREAM: stream_load.carry_out}


@dataclass
class Load:
    """The process, as seen by whoever gives the orders."""

    process: asyncio.subprocess.Process

    @classmethod
    async def start(cls) -> "Load":
        command = (sys.executable, "-m", "tests.benchmarks.load")
        return cls(await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE))

    async def carry_out(self, order: Order) -> Seen:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(order.to_json().encode() + b"\n")
        answer = await self.process.stdout.readline()
        if not answer:
            raise RuntimeError("the generator of load has ended")
        return Seen.from_json(answer.decode())

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


def main() -> None:
    for line in sys.stdin:
        sys.stdout.write(uvloop.run(_carry_out(Order.from_json(line))).to_json() + "\n")
        sys.stdout.flush()


async def _carry_out(order: Order) -> Seen:
    try:
        async with asyncio.timeout(order.seconds + DRAIN_S):
            tally = await CARRY_OUT[order.way](order)
    except TimeoutError:
        return Seen(0, {f"not all were answered within {DRAIN_S:g} s": 1}, 0.0, 0.0, 0.0, 0.0)
    except OSError as error:
        return Seen(0, {f"{type(error).__name__}: {error}": 1}, 0.0, 0.0, 0.0, 0.0)
    return tally.seen()


if __name__ == "__main__":
    main()
