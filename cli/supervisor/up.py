"""`up` itself: everything started, kept, and stopped again."""

import asyncio
import os
import signal
import time
from collections.abc import Callable

from cli.errors import UserError
from cli.supervisor.configuring import NotConfiguredError, put_in_force
from cli.supervisor.folder import DataFolder, ProcessState, RunState
from cli.supervisor.leftovers import end_leftovers
from cli.supervisor.plan import Plan, Planner, Wishes
from cli.supervisor.probes import has_key, without_password
from cli.supervisor.process import Child
from cli.supervisor.services import Services
from cli.supervisor.stores import Store
from cli.supervisor.supervisor import Supervisor
from cli.supervisor.terminal import Terminal

EXTERNAL_WITHIN_S = 5.0
CONFIG_ERROR_AGAIN_S = 30.0
CONFIGURATION_EVERY_S = 2.0
"""How long services may be without a configuration after the store lost everything."""


class Up:
    """One run, from the first process to the last."""

    def __init__(self, wishes: Wishes, plan: Plan, folder: DataFolder, terminal: Terminal) -> None:
        self._wishes = wishes
        self._plan = plan
        self._folder = folder
        self._terminal = terminal
        self._supervisor = Supervisor(plan.stages, self._changed, self._goes_without)

    async def run(
        self, stop: asyncio.Event, hurry: asyncio.Event, ready: Callable[[], None]
    ) -> None:
        """Return once `stop` is set and everything has ended. Raise `UserError`."""
        work = asyncio.create_task(self._start_and_keep(ready))
        told = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({work, told}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            told.cancel()
            work.cancel()
            with self._terminal.busy("Stopping"):
                await self._supervisor.stop(hurry)
        await asyncio.wait({work})
        if not work.cancelled():
            work.result()
        self._terminal.say("Stopped.")

    async def _start_and_keep(self, ready: Callable[[], None]) -> None:
        started_s = time.monotonic()
        self._write_state()
        with self._terminal.busy("Starting"):
            for lack in self._plan.lacking:
                self._goes_without(lack)
            for store in self._plan.external:
                await self._until_reachable(store)
            stores, *services = self._supervisor.stages
            await self._supervisor.start(stores)
            configured = await self._configure()
            idle = await self._idle()
            for stage in services:
                await self._supervisor.start([child for child in stage if child not in idle])
        for child in idle:
            self._terminal.not_started(child)
        took_s = time.monotonic() - started_s
        self._terminal.everything_ready(self._folder, self._state(), took_s)
        ready()
        await self._keep_configured(configured)

    async def _until_reachable(self, store: Store) -> None:
        url = self._wishes.environment[store.url_variable]
        deadline_s = time.monotonic() + EXTERNAL_WITHIN_S
        while lack := await store.lacks(url):
            if time.monotonic() > deadline_s:
                break
            await asyncio.sleep(0.1)
        else:
            return
        error = UserError(
            f"The store at {without_password(url)} ({store.url_variable}) cannot be used: {lack}.",
            f"Start it, correct {store.url_variable}, or unset it to have an embedded store "
            "started.",
        )
        if store.serves is None:
            raise error
        self._goes_without(error)

    async def _configure(self) -> str:
        """The key that says that a configuration is in force."""
        try:
            return await self._put_in_force()
        except NotConfiguredError as error:
            raise UserError(
                f"The configuration could not be stored: {error}.", "See ./roundhouse logs valkey"
            ) from error

    async def _put_in_force(self) -> str:
        wishes = self._wishes
        return await put_in_force(wishes.config, self._plan.redis_url, wishes.prefix)

    async def _keep_configured(self, key: str) -> None:
        """A FLUSHALL takes the configuration with it; the store itself may also be restarting."""
        while True:
            await asyncio.sleep(CONFIGURATION_EVERY_S)
            if self._folder.is_lost:
                raise UserError(
                    f"The data folder {self._folder.root} is gone, and all that was kept in it.",
                    "So everything ends. Start again with ./roundhouse up; ./roundhouse down first "
                    "keeps what is in a folder that is to be moved.",
                )
            try:
                if await has_key(self._plan.redis_url, key) is False:
                    await self._put_in_force()
                    self._terminal.say("  The store had lost the configuration; it is back.")
                await self._start_later()
            except UserError as error:
                self._terminal.say(f"  The store lost the configuration, and\n{error}")
                await asyncio.sleep(CONFIG_ERROR_AGAIN_S)
            except NotConfiguredError:
                continue

    async def _idle(self) -> list[Child]:
        """Those not started yet that would have nothing to do: the store has a key by the name of
        a section as long as the configuration in force has something in it.
        """
        url, prefix = self._plan.redis_url, self._wishes.prefix
        return [
            child
            for child in self._supervisor.not_started
            if not await has_key(url, prefix + child.program.section)
        ]

    async def _start_later(self) -> None:
        """What was left out and has something to do by now, without waiting for it."""
        idle = await self._idle()
        for child in self._supervisor.not_started:
            if child not in idle:
                child.launch()

    def _goes_without(self, error: UserError) -> None:
        """Of what inference does not need, so it is no reason to stop."""
        self._terminal.say(f"  Going on without this: {error}")

    def _changed(self, child: Child) -> None:
        self._terminal.child_changed(child)
        self._write_state()

    def _write_state(self) -> None:
        if self._folder.is_lost:
            return
        try:
            self._folder.write_state(self._state())
        except OSError as error:
            self._terminal.say(f"  `roundhouse status` will be out of date: {error}")

    def _state(self) -> RunState:
        return RunState(
            pid=os.getpid(),
            http_host=self._plan.host,
            http_port=self._plan.port,
            redis_url=self._plan.redis_url,
            urls=dict(self._plan.urls),
            external=tuple(store.name for store in self._plan.external),
            processes=tuple(
                ProcessState(
                    name=child.program.name,
                    state=child.state,
                    pid=child.pid,
                    port=child.program.port,
                    restarts=child.restarts,
                    note=child.note,
                    store=child.program.store,
                )
                for child in self._supervisor.children
                if child.launched or not child.program.section
            ),
        )


async def up(
    wishes: Wishes, services: Services, terminal: Terminal, ready: Callable[[], None]
) -> None:
    """Run everything until SIGINT, SIGTERM or SIGHUP. Raise `UserError`."""
    stop, hurry = _signals(terminal)
    folder = DataFolder(wishes.data)
    folder.prepare()
    with folder.held():
        left = await asyncio.to_thread(end_leftovers, folder.marker)
        if left:
            terminal.say(f"Ended {left} processes that an earlier run had left behind.")
        plan = Planner(wishes, services, folder).plan()
        await Up(wishes, plan, folder, terminal).run(stop, hurry, ready)


def _signals(terminal: Terminal) -> tuple[asyncio.Event, asyncio.Event]:
    """The first signal asks to stop, every further one to hurry."""
    stop, hurry = asyncio.Event(), asyncio.Event()

    def signalled(number: signal.Signals) -> None:
        if number == signal.SIGHUP:
            terminal.fall_silent()
        (hurry if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, signalled, number)
    return stop, hurry
