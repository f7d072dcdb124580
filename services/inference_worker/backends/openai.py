"""Any server that speaks the OpenAI protocol: llama-server, vLLM, LM Studio, LocalAI.

It loads its own models, so there is nothing for us to load or unload.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from services.inference_worker.backends import openai_stream
from services.inference_worker.backends.catalogue import Catalogue
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

WRITES = ModelConfig(engine="openai")
EMBEDS = ModelConfig(engine="openai", operations=(Operation.EMBEDDING,))


class OpenAI:
    """One OpenAI-compatible server."""

    engine = "openai"

    def __init__(
        self,
        url: str,
        models: Mapping[str, ModelConfig],
        *,
        connect_s: float = 5.0,
        api_key: str | None = None,
    ) -> None:
        self._http = EngineHttp(url, connect_s=connect_s, api_key=api_key)
        self.url = self._http.url
        self._catalogue = Catalogue(self.engine, models)
        self._left_out: dict[str, str] = {}

    async def models(self) -> Sequence[LocalModel]:
        self._left_out = {}
        served = await self._served()
        slots = await self._slots(served)
        missing = self._catalogue.missing({model["id"] for model in served})
        self._left_out = {
            name: f"{self.url} does not serve {source}" for name, source in missing.items()
        }
        return [
            LocalModel(
                name=name,
                engine=self.engine,
                operations=settings.operations,
                context_tokens=_context_tokens(model) or settings.context_tokens,
                slots=slots or settings.slots,
                need_mib=0,
                loadable=False,
            )
            for model in served
            for name, settings in self._offered(model)
        ]

    def left_out(self) -> Mapping[str, str]:
        return self._left_out

    async def resident(self) -> Sequence[Resident]:
        return [
            Resident(name, context_tokens=_context_tokens(model))
            for model in await self._served()
            for name, _ in self._offered(model)
        ]

    async def load(self, profile: Profile) -> int | None:
        if profile.model not in {resident.model for resident in await self.resident()}:
            raise BackendError(
                FailureReason.REFUSED, f"{self._http.url} does not serve {profile.model}"
            )
        return None

    async def unload(self, model: str) -> None:
        raise BackendError(
            FailureReason.REFUSED, f"{self._http.url} decides by itself how long it holds {model}"
        )

    def stream(self, call: Call) -> AsyncGenerator[Delta | Finished, None]:
        return openai_stream.stream(self._http, call, self._catalogue.source(call.profile.model))

    async def close(self) -> None:
        await self._http.close()

    def _offered(self, model: dict[str, Any]) -> list[tuple[str, ModelConfig]]:
        # No engine says what its models can do; those that embed have it in their names.
        assumed = EMBEDS if "embed" in model["id"].lower() else WRITES
        return self._catalogue.offered(model["id"], assumed)

    async def _served(self) -> list[dict[str, Any]]:
        match await self._http.get("/v1/models"):
            case {"data": [*models]}:
                return [model for model in models if isinstance(model.get("id"), str)]
        raise BackendError(
            FailureReason.REFUSED, f"{self._http.url}/v1/models lists no models; is it an engine?"
        )

    async def _slots(self, served: list[dict[str, Any]]) -> int | None:
        """Requests at a time, which of all engines only llama.cpp's server tells."""
        if not any(model.get("owned_by") == "llamacpp" for model in served):
            return None
        match await self._http.get("/props"):
            case {"total_slots": int(slots)}:
                return slots
        return None


def _context_tokens(model: dict[str, Any]) -> int | None:
    """As vLLM and llama.cpp's server tell it, of one slot."""
    match model:
        case {"max_model_len": int(tokens)} | {"meta": {"n_ctx": int(tokens)}}:
            return tokens
    return None
