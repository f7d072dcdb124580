"""The engines of this node as one: what they could serve, what is loaded, what is going on."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import structlog

from services.inference_worker.backends.port import Backend, BackendError, Profile
from services.inference_worker.offers import Answer, Offers
from shared.events.inference import FailureReason
from shared.events.models import LocalModel, ModelState, ResidentModel

log = structlog.get_logger()

REFRESH_TIMEOUT_S = 3.0

RECONFIGURED = "the configuration changed"

AT_REST = frozenset({ModelState.READY, ModelState.STUCK})
"""Neither on its way in nor out, so that its engine says whether it is still there."""

StateListener = Callable[["LoadedModel", str, int | None], None]


@dataclass(slots=True)
class LoadedModel:
    """A model's profile on this node, from the moment its load begins."""

    local: LocalModel
    backend: Backend
    profile: Profile
    state: ModelState
    in_flight: int = 0
    quiet: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while nothing is in flight."""
    last_used_s: float = 0.0
    measured_mib: int | None = None
    cold_load_ms: int | None = None
    """How long its load took, until the first attempt has accounted for it."""

    def __post_init__(self) -> None:
        self.quiet.set()

    def account_for_load(self) -> int | None:
        load_ms, self.cold_load_ms = self.cold_load_ms, None
        return load_ms

    def snapshot(self, now_s: float) -> ResidentModel:
        return ResidentModel(
            name=self.local.name,
            state=self.state,
            slots=self.profile.slots,
            in_flight=self.in_flight,
            idle_s=0.0 if self.in_flight else max(0.0, now_s - self.last_used_s),
            measured_mib=self.measured_mib,
        )


class Engines:
    """Loads and unloads are serialised per model; state changes are told to a listener."""

    def __init__(self, listener: StateListener, on_offers: Callable[[], None]) -> None:
        self._listener = listener
        self._on_offers = on_offers
        self.backends: Sequence[Backend] = ()
        self._silent: set[Backend] = set()
        self.offers = Offers()
        self._loaded: dict[str, LoadedModel] = {}
        self.known = asyncio.Event()
        """Set once the engines have been asked what they offer."""
        self._work: dict[str, asyncio.Task[None]] = {}
        """Loads and unloads under way, by model."""
        self._retiring: set[asyncio.Task[None]] = set()

    async def use(self, backends: Sequence[Backend]) -> None:
        """Serve through these from now on; what others hold is drained and given up."""
        retiring, self.backends = self.backends, backends
        self.offers.forget_problems()
        if retiring:
            held = [loaded for loaded in self._loaded.values() if loaded.backend in retiring]
            for loaded in held:
                if not loaded.local.loadable:
                    self._change(loaded, ModelState.UNLOADED, RECONFIGURED)
            task = asyncio.create_task(self._retire(retiring, held))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)
        await self.refresh()

    async def add(self, backends: Sequence[Backend]) -> None:
        """Serve through these as well."""
        self.backends = (*self.backends, *backends)
        await self.refresh()

    @property
    def resident(self) -> tuple[ResidentModel, ...]:
        now_s = monotonic()
        return tuple(loaded.snapshot(now_s) for loaded in self._loaded.values())

    def ready(self, model: str) -> LoadedModel | None:
        """The model, where an attempt may start on it now."""
        loaded = self._loaded.get(model)
        return loaded if loaded and loaded.state is ModelState.READY else None

    @contextmanager
    def serving(self, loaded: LoadedModel) -> Iterator[None]:
        """Count an attempt, so that nothing unloads the model below it."""
        loaded.in_flight += 1
        loaded.quiet.clear()
        try:
            yield
        finally:
            loaded.in_flight -= 1
            loaded.last_used_s = monotonic()
            if not loaded.in_flight:
                loaded.quiet.set()

    async def refresh(self) -> None:
        """Ask all engines what they offer and hold; one that hangs does not hold up the others."""
        backends = self.backends
        answers = await asyncio.gather(*(self._ask(backend) for backend in backends))
        if backends is not self.backends:
            return  # others were asked meanwhile, or are being asked
        news = self.offers.take(answers)
        await self._reconcile()
        if self.backends and not self.known.is_set():
            self.known.set()
            self._on_offers()
        elif news:
            self._on_offers()

    def load(self, model: str, context_tokens: int, slots: int, reason: str) -> None:
        """Begin to load a model, detached from whoever asked. A repeated call changes nothing."""
        if model in self._work or model in self._loaded or model not in self.offers:
            log.info("load_ignored", model=model, known=model in self.offers)
            return
        local, backend = self.offers[model]
        if backend not in self.backends:
            log.info("load_ignored", model=model, why=RECONFIGURED)
            return
        profile = Profile(model, context_tokens, slots)
        loaded = LoadedModel(local, backend, profile, ModelState.LOADING, last_used_s=monotonic())
        self._loaded[model] = loaded
        self._start_work(model, self._load(loaded, reason))

    def unload(self, model: str, reason: str) -> None:
        """Begin to drain and unload a model. A repeated call changes nothing."""
        loaded = self._loaded.get(model)
        if loaded is None or not loaded.local.loadable or loaded.state is not ModelState.READY:
            log.info("unload_ignored", model=model)
            return
        self._start_work(model, self._unload(loaded, reason))

    async def close(self) -> None:
        work = (*self._work.values(), *self._retiring)
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        await asyncio.gather(*(backend.close() for backend in self.backends))

    async def _retire(self, backends: Sequence[Backend], held: Sequence[LoadedModel]) -> None:
        """Give up what they hold once it is quiet, also what is still on its way in or out."""
        try:
            await asyncio.gather(*(self._give_up(loaded) for loaded in held))
        finally:
            await asyncio.gather(*(backend.close() for backend in backends))
        for loaded in held:
            if self._loaded.get(loaded.local.name) is loaded:
                self._change(loaded, ModelState.UNLOADED, RECONFIGURED)

    async def _give_up(self, loaded: LoadedModel) -> None:
        name = loaded.local.name
        await self._work_on(name)
        if self._loaded.get(name) is loaded:
            self.unload(name, RECONFIGURED)
            await self._work_on(name)
        await loaded.quiet.wait()

    async def _work_on(self, model: str) -> None:
        """Wait until nothing is going on with the model."""
        if work := self._work.get(model):
            await asyncio.wait({work})

    async def _ask(self, backend: Backend) -> Answer:
        try:
            async with asyncio.timeout(REFRESH_TIMEOUT_S):
                local_models = await backend.models()
        except (BackendError, TimeoutError) as error:
            if backend not in self._silent:
                log.warning("engine_silent", engine=backend.engine, error=str(error))
            self._silent.add(backend)
            if isinstance(error, BackendError) and error.reason is FailureReason.REFUSED:
                return backend, ()  # it is not there at all
            return backend, self.offers.of(backend)
        self._silent.discard(backend)
        return backend, local_models

    async def _reconcile(self) -> None:
        """Take over what engines hold without our doing, drop what they lost."""
        for local, backend in self.offers.values():
            if not local.loadable and local.name not in self._loaded:
                self._adopt(local, backend, local.context_tokens, None)
        for name, loaded in list(self._loaded.items()):
            if not loaded.local.loadable and name not in self.offers:
                self._change(loaded, ModelState.UNLOADED, "its engine no longer offers it")
        for backend in self.backends:
            await self._compare(backend)

    async def _compare(self, backend: Backend) -> None:
        """By what did not change while the engine was being asked."""
        before = {name: loaded.state for name, loaded in self._loaded.items()}
        try:
            async with asyncio.timeout(REFRESH_TIMEOUT_S):
                held = {each.model: each for each in await backend.resident()}
        except (BackendError, TimeoutError):
            return
        if backend not in self.backends:
            return
        for name, loaded in list(self._loaded.items()):
            ours = loaded.backend is backend and loaded.local.loadable
            at_rest = loaded.state in AT_REST and loaded.state is before.get(name)
            if ours and at_rest and name not in held:
                self._change(loaded, ModelState.UNLOADED, "its engine dropped it")
        for name, found in held.items():
            offer = self.offers.get(name)
            strange = name not in before and name not in self._loaded
            if strange and offer and offer[1] is backend:
                self._adopt(*offer, found.context_tokens, found.measured_mib)

    def _adopt(
        self, local: LocalModel, backend: Backend, context: int | None, measured_mib: int | None
    ) -> None:
        profile = Profile(local.name, context or local.context_tokens, local.slots)
        loaded = LoadedModel(local, backend, profile, ModelState.READY, last_used_s=monotonic())
        loaded.measured_mib = measured_mib
        self._loaded[local.name] = loaded
        self._listener(loaded, "found in its engine", None)

    def _start_work(self, model: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._work[model] = task
        task.add_done_callback(lambda _: self._work.pop(model, None))

    async def _load(self, loaded: LoadedModel, reason: str) -> None:
        self._change(loaded, ModelState.LOADING, reason)
        began_s = monotonic()
        try:
            loaded.measured_mib = await loaded.backend.load(loaded.profile)
        except BackendError as error:
            log.warning("load_failed", model=loaded.local.name, error=str(error))
            self._load_failed(loaded, str(error))
            return
        except Exception as error:
            log.exception("load_broke", model=loaded.local.name)
            self._load_failed(loaded, repr(error))
            return
        self.offers.load_worked(loaded.local.name)
        loaded.last_used_s = monotonic()
        load_ms = int((loaded.last_used_s - began_s) * 1000)
        loaded.cold_load_ms = load_ms
        self._change(loaded, ModelState.READY, reason, load_ms)

    def _load_failed(self, loaded: LoadedModel, problem: str) -> None:
        if loaded.backend in self.backends:
            self.offers.load_failed(loaded.local.name, problem)
        self._change(loaded, ModelState.UNLOADED, f"load failed: {problem}")

    async def _unload(self, loaded: LoadedModel, reason: str) -> None:
        self._change(loaded, ModelState.DRAINING, reason)
        await loaded.quiet.wait()
        self._change(loaded, ModelState.UNLOADING, reason)
        try:
            await loaded.backend.unload(loaded.local.name)
        except BackendError as error:
            log.warning("unload_stuck", model=loaded.local.name, error=str(error))
            self._change(loaded, ModelState.STUCK, str(error))
            return
        except Exception as error:
            log.exception("unload_broke", model=loaded.local.name)
            self._change(loaded, ModelState.STUCK, repr(error))
            return
        self._change(loaded, ModelState.UNLOADED, reason)

    def _change(
        self, loaded: LoadedModel, state: ModelState, reason: str, load_ms: int | None = None
    ) -> None:
        loaded.state = state
        if state is ModelState.UNLOADED:
            self._loaded.pop(loaded.local.name, None)
        self._listener(loaded, reason, load_ms)
