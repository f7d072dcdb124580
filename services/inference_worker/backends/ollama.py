"""Ollama by its own API. What is resident is ours to decide: it never loads or evicts for us."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from time import monotonic
from typing import Any
from uuid import uuid4

import structlog

from services.inference_worker.backends import ollama_protocol
from services.inference_worker.backends.catalogue import Catalogue
from services.inference_worker.backends.footprint import (
    MIB,
    load_deadline_s,
    need_mib,
    trained_context_tokens,
)
from services.inference_worker.backends.http import EngineHttp
from services.inference_worker.backends.port import (
    BackendError,
    Call,
    Delta,
    Finished,
    Profile,
    Resident,
)
from shared.config.models import ModelConfig
from shared.events.base import Operation
from shared.events.inference import FailureReason
from shared.events.models import LocalModel

log = structlog.get_logger(__name__)

FOREVER = -1
"""`keep_alive` of a model that only we unload."""

UNLOAD_S = 15.0
"""Ollama answers an unload at once, and lets go later: usually within 2 s."""

POLL_S = 0.1

# Ollama runs one request at a time unless OLLAMA_NUM_PARALLEL says otherwise, and queues the
# others without a bound.
WRITES = ModelConfig(engine="ollama", slots=1)
EMBEDS = ModelConfig(engine="ollama", slots=1, operations=(Operation.EMBEDDING,))


class Ollama:
    """One Ollama server. `models`: those of the configuration."""

    engine = "ollama"

    def __init__(
        self,
        url: str,
        models: Mapping[str, ModelConfig],
        *,
        connect_s: float = 5.0,
        api_key: str | None = None,
        unload_s: float = UNLOAD_S,
    ) -> None:
        self._http = EngineHttp(url, connect_s=connect_s, api_key=api_key)
        self.url = self._http.url
        self._catalogue = Catalogue(self.engine, _tagged(models))
        self._unload_s = unload_s
        self._shown: dict[str, dict[str, Any]] = {}
        self._left_out: dict[str, str] = {}
        self._unreadable: set[str] = set()
        self._loads: dict[str, asyncio.Task[None]] = {}
        self._held: Sequence[Resident] = ()

    async def models(self) -> Sequence[LocalModel]:
        self._left_out = {}
        tags = await self._tags()
        missing = self._catalogue.missing({tag["name"] for tag in tags})
        self._left_out = {name: _not_pulled(self.url, each) for name, each in missing.items()}
        answers = await asyncio.gather(*(self._show(tag) for tag in tags), return_exceptions=True)
        found: list[LocalModel] = []
        for tag, shown in zip(tags, answers, strict=True):
            if isinstance(shown, BackendError):
                self._leave_out(tag["name"], shown)
            elif isinstance(shown, BaseException):
                raise shown
            elif assumed := _assumed(shown):
                offered = self._catalogue.offered(tag["name"], assumed)
                found += [_described(*named, tag, shown) for named in offered]
        return found

    def left_out(self) -> Mapping[str, str]:
        return self._left_out

    async def resident(self) -> Sequence[Resident]:
        """While one of our loads runs, the last known answer: Ollama gives none before its end."""
        try:
            running = await self._http.get("/api/ps")
        except BackendError as error:
            if error.reason is FailureReason.TIMED_OUT and self._loads:
                return self._held
            raise
        self._held = [
            Resident(name, _measured_mib(model), model.get("context_length"))
            for model in running.get("models") or ()
            for name, _ in self._catalogue.offered(model["name"], WRITES)
        ]
        return self._held

    async def load(self, profile: Profile) -> int | None:
        """Ollama aborts a load whose client goes away. Ours does not: it goes on when the caller
        is cancelled, and a second call waits for the same load."""
        name = profile.model
        if name not in self._loads:
            task = asyncio.create_task(self._load(profile))
            self._loads[name] = task
            task.add_done_callback(lambda done: self._forget_load(name, done))
        task = self._loads[name]
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.cancelled():
                raise
            raise BackendError(FailureReason.REFUSED, f"{name} was unloaded meanwhile") from None
        try:
            held = {resident.model: resident.measured_mib for resident in await self.resident()}
        except BackendError:  # it is loaded; how large it is will be seen later
            return None
        return held.get(name)

    async def unload(self, model: str) -> None:
        if model in self._loads:
            self._loads[model].cancel()
        source = self._catalogue.source(model)
        deadline = monotonic() + self._unload_s
        try:
            body = {"model": source, "keep_alive": 0, "stream": False}
            await self._http.post("/api/generate", body, self._unload_s)
        except BackendError as error:
            if error.reason is not FailureReason.TIMED_OUT:
                raise
        while await self._holds(model):
            if monotonic() > deadline:
                raise BackendError(
                    FailureReason.HUNG,
                    f"Ollama still holds {source} {self._unload_s:.0f} s after it said it unloads"
                    " it; restart Ollama if this stays so",
                )
            await asyncio.sleep(POLL_S)

    async def stream(self, call: Call) -> AsyncGenerator[Delta | Finished, None]:
        source = self._catalogue.source(call.profile.model)
        if call.operation is Operation.EMBEDDING:
            yield await self._embed(call, source)
            return
        body = ollama_protocol.request(call, source)
        answer = ollama_protocol.Answer(id_prefix=f"call_{uuid4().hex[:12]}_")
        path = ollama_protocol.PATHS[call.operation]
        async with aclosing(self._http.lines(path, body)) as arriving:
            async for lines in arriving:
                for delta in answer.read(lines):
                    yield delta
        yield answer.finished()

    async def close(self) -> None:
        loads = list(self._loads.values())
        for load in loads:
            load.cancel()
        await asyncio.gather(*loads, return_exceptions=True)
        await self._http.close()

    async def _load(self, profile: Profile) -> None:
        source = self._catalogue.source(profile.model)
        tags = {tag["name"]: tag for tag in await self._tags()}
        if source not in tags:
            raise BackendError(FailureReason.REFUSED, _not_pulled(self.url, source))
        shown = await self._show(tags[source])
        # An empty request loads a model; an encoder takes it at /api/embed only.
        embeds = _assumed(shown) is EMBEDS
        body = {
            "model": source,
            "keep_alive": FOREVER,
            "stream": False,
            "options": {"num_ctx": profile.context_tokens},
            **({"input": ""} if embeds else {}),
        }
        path = "/api/embed" if embeds else "/api/generate"
        await self._http.post(path, body, load_deadline_s(tags[source].get("size", 0)))

    def _forget_load(self, name: str, done: asyncio.Task[None]) -> None:
        del self._loads[name]
        if not done.cancelled() and done.exception():
            log.warning("load_failed", model=name, problem=str(done.exception()))

    async def _embed(self, call: Call, source: str) -> Finished:
        body = ollama_protocol.embed_request(call, source)
        answer = await self._http.post("/api/embed", body, timeout_s=None)
        return ollama_protocol.account(answer, "stop", embeddings=answer["embeddings"])

    async def _holds(self, model: str) -> bool:
        try:
            return any(resident.model == model for resident in await self.resident())
        except BackendError as error:
            if error.reason is not FailureReason.TIMED_OUT:
                raise
            return True  # it says nothing while it loads or unloads

    async def _tags(self) -> list[dict[str, Any]]:
        """All models but those that Ollama would send to its cloud."""
        match await self._http.get("/api/tags"):
            case {"models": [*models]}:
                return [
                    model
                    for model in models
                    if not model.get("remote_host") and not model.get("remote_model")
                ]
        raise BackendError(
            FailureReason.REFUSED, f"{self._http.url}/api/tags lists no models; is it Ollama?"
        )

    async def _show(self, tag: dict[str, Any]) -> dict[str, Any]:
        digest = str(tag.get("digest"))
        if digest not in self._shown:
            self._shown[digest] = await self._http.post("/api/show", {"model": tag["name"]})
        return self._shown[digest]

    def _leave_out(self, name: str, error: BackendError) -> None:
        if name not in self._unreadable:
            self._unreadable.add(name)
            log.warning("model_left_out", model=name, problem=str(error))


def _not_pulled(url: str, source: str) -> str:
    return f"Ollama at {url} has no {source}; fetch it with: ollama pull {source}"


def _tagged(models: Mapping[str, ModelConfig]) -> dict[str, ModelConfig]:
    """With sources as Ollama lists them: what has no tag means `latest`."""
    tagged: dict[str, ModelConfig] = {}
    for name, settings in models.items():
        source = settings.source or name
        if ":" not in source.rpartition("/")[2]:
            source += ":latest"
        tagged[name] = settings.model_copy(update={"source": source})
    return tagged


def _assumed(shown: dict[str, Any]) -> ModelConfig | None:
    """What the model does; None for what nobody can ask for here, such as making images."""
    capabilities = shown.get("capabilities") or ("completion",)
    if "completion" in capabilities:
        return WRITES
    return EMBEDS if "embedding" in capabilities else None


def _described(
    name: str, settings: ModelConfig, tag: dict[str, Any], shown: dict[str, Any]
) -> LocalModel:
    metadata = shown.get("model_info") or {}
    trained = trained_context_tokens(metadata) or settings.context_tokens
    context_tokens = min(settings.context_tokens, trained)
    weights_bytes = tag.get("size", 0)
    return LocalModel(
        name=name,
        engine=Ollama.engine,
        operations=EMBEDS.operations if _assumed(shown) is EMBEDS else settings.operations,
        context_tokens=context_tokens,
        slots=settings.slots,
        need_mib=settings.need_mib
        or need_mib(weights_bytes, metadata, context_tokens, settings.slots),
        digest=tag.get("digest"),
    )


def _measured_mib(model: dict[str, Any]) -> int | None:
    """What it takes of the memory that models compete for: VRAM, or RAM where there is none."""
    size_bytes = model.get("size_vram") or model.get("size")
    return int(size_bytes) // MIB if size_bytes else None
