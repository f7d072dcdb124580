"""All processes of one `up`: started stage by stage, stopped in reverse."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence

from cli.errors import UserError
from cli.supervisor.guard import Guard
from cli.supervisor.process import Child, Program

STOP_WITHIN_S = 4.5


class Supervisor:
    """`stages` are started in order, the programs of one stage at the same time."""

    def __init__(
        self,
        stages: Iterable[Sequence[Program]],
        changed: Callable[[Child], None],
        failed: Callable[[UserError], None],
    ) -> None:
        self._changed = changed
        self._failed = failed
        self._guard = Guard()
        self.stages = [
            [Child(program, self._on_change) for program in programs] for programs in stages
        ]

    @property
    def children(self) -> Iterator[Child]:
        return (child for stage in self.stages for child in stage)

    async def start(self, stage: Sequence[Child]) -> None:
        """Return when all of it is ready. Raise `UserError` for the first that will not be.

        What is not needed goes on trying; `failed` is told of it.
        """
        for child in stage:
            child.launch()
        try:
            async with asyncio.TaskGroup() as group:
                for child in stage:
                    group.create_task(self._until_ready(child))
        except* UserError as failures:
            raise failures.exceptions[0] from None

    async def _until_ready(self, child: Child) -> None:
        try:
            await child.until_ready()
        except UserError as error:
            if child.program.needed:
                raise
            self._failed(error)

    @property
    def not_started(self) -> list[Child]:
        """Those that were left out when their stage was started."""
        return [child for child in self.children if child.program.section and not child.launched]

    async def stop(self, hurry: asyncio.Event) -> None:
        """End everything within `STOP_WITHIN_S`, the last started first; sooner on `hurry`."""
        clock = asyncio.get_running_loop().time
        deadline_s = clock() + STOP_WITHIN_S
        for left in range(len(self.stages), 0, -1):
            grace_s = (deadline_s - clock()) / left
            stage = self.stages[left - 1]
            await asyncio.gather(*(child.stop(grace_s, hurry) for child in stage))
        self._guard.close()

    def _on_change(self, child: Child) -> None:
        self._guard.watch(child.pid for child in self.children if child.pid is not None)
        self._changed(child)
