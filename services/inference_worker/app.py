"""Where the worker is put together."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from services.inference_worker.backends.assemble import assemble, find_more
from services.inference_worker.backends.port import Backend
from services.inference_worker.handlers import Worker
from services.inference_worker.settings import Settings
from shared.bus.bus import Bus
from shared.config import Config
from shared.events.inference import (
    InferenceAttemptFailed,
    InferenceCompleted,
    InferenceDispatched,
    InferenceStarted,
    InferenceStopRequested,
)
from shared.events.models import (
    ModelLoadRequested,
    ModelStateChanged,
    ModelUnloadRequested,
    NodeHeartbeat,
)
from shared.service import Service, Step

CONSUMES = (
    InferenceDispatched,
    InferenceStopRequested,
    ModelLoadRequested,
    ModelUnloadRequested,
)
PUBLISHES = (
    InferenceStarted,
    InferenceAttemptFailed,
    InferenceCompleted,
    ModelStateChanged,
    NodeHeartbeat,
)


LOOK_AGAIN_S = 30.0

Assemble = Callable[[Config, Settings], Awaitable[Sequence[Backend]]]


@dataclass(kw_only=True)
class NodeService(Service):
    """One that takes its node's name before it consumes anything: it might be another's."""

    occupy: Step

    async def start(self) -> None:
        await self.occupy()
        await super().start()


def create_app(settings: Settings, assemble: Assemble = assemble) -> Service:
    bus = Bus("inference-worker", settings, consumes=CONSUMES, publishes=PUBLISHES)
    worker = Worker(bus, settings.node)
    bus.on(InferenceStopRequested, worker.on_stop, node=settings.node)
    bus.on(ModelLoadRequested, worker.on_load, node=settings.node)
    bus.on(ModelUnloadRequested, worker.on_unload, node=settings.node)

    async def find_engines() -> None:
        """At the start, whenever engines were configured anew, and for those started later."""
        await bus.configuration.ready()
        relevant: tuple[object, ...] = ()
        while True:
            before, relevant = relevant, _of_engines(bus.config, settings)
            if before != relevant:
                await worker.engines.use(await assemble(bus.config, settings))
            elif more := await find_more(bus.config, settings, worker.engines.backends):
                await worker.engines.add(more)
            if relevant != _of_engines(bus.config, settings):
                continue  # it changed while the engines were asked
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AGAIN_S):
                    await bus.configuration.changed()

    loops = (worker.heartbeat, worker.renew_leases, worker.refresh, worker.read, find_engines)
    for loop in loops:
        bus.background(loop)
    return NodeService(
        "inference-worker",
        settings,
        bus,
        checks=worker.checks,
        on_start=(worker.take_over,),
        on_stop=(worker.close,),
        given_up=worker.given_up,
        occupy=worker.occupy,
    )


def _of_engines(config: Config, settings: Settings) -> tuple[object, ...]:
    return config.node(settings.node), config.models, config.heuristics
