"""How a cell is hurt, and healed again."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from time import monotonic
from typing import Any

import psutil
import redis.asyncio

from tests.chaos.cell import KEYS, Cell, Member
from tests.chaos.plan import LLAMA, REAL_NODES, Fault, Kind
from tests.databases import Postgres
from tests.servers import Store

TAKEOVER_S = 30.0
LOOK_S = 0.05


class Faults:
    """Strikes as the plan says. A target that is hurt already is struck right after it healed."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._client = redis.asyncio.Redis.from_url(
            cell.store.url, protocol=2, socket_timeout=1.0, socket_connect_timeout=1.0
        )
        self._under_way: set[asyncio.Task[None]] = set()
        self.struck: Counter[str] = Counter()
        """What was carried out, by sort."""
        self.left_out: Counter[str] = Counter()
        """What could not be done here, and why."""
        self.takeovers_s: list[float] = []
        """From the death of a leading router to the first term of the next leader."""
        self.broken: list[str] = []
        """What went wrong in doing harm."""

    def strike(self, fault: Fault) -> None:
        self._beside(self._strike(fault))

    async def calm(self, most: int) -> None:
        """Wait until no more than so many hurt at a time."""
        while len(self._under_way) > most:
            await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)

    async def over(self) -> None:
        """Wait until all is healed."""
        await self.calm(0)
        await self._client.aclose()

    async def _strike(self, fault: Fault) -> None:
        problem = await self._hurt(fault)
        if problem:
            self.left_out[f"{fault.kind} {fault.target}: {problem}"] += 1
        else:
            self.struck[fault.sort] += 1

    async def _hurt(self, fault: Fault) -> str:
        """Strike and heal; why not, where it cannot be done."""
        match fault:
            case Fault(kind=Kind.JUMP):
                return self._jump(fault.for_s)
            case Fault(target="store"):
                return await self._hurt_store(fault)
            case Fault(target="postgres"):
                return await self._hurt_postgres(fault)
            case Fault(kind=Kind.CUT | Kind.PART):
                return await self._hurt_network(fault)
        if fault.target == LLAMA:
            return await self._hurt_llama(fault)
        name = fault.target
        if name == "leading router":
            name = await self._leader()
        if name not in self._cell.members:
            return "there is none"
        await self._hurt_member(self._cell.members[name], fault)
        return ""

    async def _hurt_member(self, member: Member, fault: Fault) -> None:
        async with member.turn:
            if member.is_dead():
                member.start()
            if fault.kind is Kind.FREEZE:
                await _freeze(member.child.pid, fault.for_s)
                return
            leads = member.name == await self._leader()
            before = await self._generation()
            if fault.kind is Kind.STOP:
                await asyncio.to_thread(member.child.terminate)
            else:
                member.child.kill()
            if leads:
                self._beside(self._time_takeover(before, monotonic()))
            await asyncio.sleep(fault.for_s)
            member.start()

    async def _hurt_store(self, fault: Fault) -> str:
        store = self._cell.store
        async with self._cell.store_turn:
            if fault.kind is Kind.KILL:
                await put_off_nothing(store)
            await _hurt_server(store, fault, lambda: asyncio.to_thread(store.start))
        return ""

    async def _hurt_postgres(self, fault: Fault) -> str:
        postgres = self._cell.postgres
        async with self._cell.postgres_turn:
            await _hurt_server(postgres, fault, lambda: _start_again(postgres))
        return ""

    async def _hurt_network(self, fault: Fault) -> str:
        network = self._cell.networks.get(fault.target)
        if network is None:
            return "there is none"
        if fault.kind is Kind.CUT:
            network.loss = fault.share
        else:
            network.hold()
        await asyncio.sleep(fault.for_s)
        network.loss = 0.0
        network.release()
        return ""

    async def _hurt_llama(self, fault: Fault) -> str:
        """On the first node that has the model loaded."""
        for name in REAL_NODES:
            member = self._cell.members[name]
            async with member.turn:
                if server := _llama_server(member.child.pid):
                    if fault.kind is Kind.FREEZE:
                        await _freeze(server.pid, fault.for_s)
                    else:
                        server.kill()
                    return ""
        return "no model is loaded"

    def _jump(self, by_s: float) -> str:
        if not self._cell.clock.can_jump:
            return "there is no C compiler"
        self._cell.clock.jump(by_s)
        return ""

    async def _leader(self) -> str:
        """The name of the router that holds the lease; of the first where nobody can tell."""
        owner = await self._look(KEYS.lease("router"))
        for name in ("router-1", "router-2"):
            if f"-{self._cell.members[name].child.pid}-" in owner:
                return name
        return "router-1"

    async def _generation(self) -> str:
        return await self._look(KEYS.fence("router"))

    async def _look(self, key: str) -> str:
        with suppress(redis.RedisError, OSError):
            return (await self._client.get(key) or b"").decode()
        return ""

    async def _time_takeover(self, before: str, since_s: float) -> None:
        while monotonic() < since_s + TAKEOVER_S:
            if await self._generation() not in ("", before):
                self.takeovers_s.append(monotonic() - since_s)
                return
            await asyncio.sleep(LOOK_S)

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self.broken.append(repr(error))


async def put_off_nothing(store: Store) -> None:
    """From now on, until it is started again, the store writes before it answers.

    With `everysec` it holds writes back for as long as its last sync has not come to its turn, at
    most two seconds, and answers meanwhile: killed then, it loses what it has acknowledged, which
    would prove nothing about those who believed it. INFO cannot tell that it holds none back: it
    may a moment later. Changing to `always` waits for the sync and writes what was held back.
    """
    client = redis.asyncio.Redis.from_url(store.url, protocol=2, socket_timeout=None)
    async with client:
        await client.config_set("appendfsync", "always")


async def _freeze(pid: int, for_s: float) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(for_s)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


async def _hurt_server(
    server: Store | Postgres, fault: Fault, start: Callable[[], Awaitable[object]]
) -> None:
    if fault.kind is Kind.FREEZE:
        server.freeze()
        await asyncio.sleep(fault.for_s)
        server.thaw()
    else:
        server.kill()
        await asyncio.sleep(fault.for_s)
        await start()


async def _start_again(postgres: Postgres) -> None:
    """What was killed leaves children, which hold its memory until they notice."""
    deadline_s = monotonic() + TAKEOVER_S
    while True:
        try:
            await asyncio.to_thread(postgres.start)
        except AssertionError:
            if monotonic() > deadline_s:
                raise
            await asyncio.sleep(0.1)
        else:
            return


def _llama_server(worker_pid: int) -> psutil.Process | None:
    with suppress(psutil.Error):
        for child in psutil.Process(worker_pid).children():
            if "--until-stdin-closes" in child.cmdline():
                return child
    return None
