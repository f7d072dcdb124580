"""Builds the backends of a node: from its configuration, and from what answers on it."""

import asyncio
import os
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

import structlog

from services.inference_worker.backends.heuristic import Heuristic
from services.inference_worker.backends.llama_cpp import LlamaCpp, is_installed
from services.inference_worker.backends.ollama import Ollama
from services.inference_worker.backends.openai import OpenAI
from services.inference_worker.backends.port import Backend, BackendError
from services.inference_worker.discovery import find_engines
from services.inference_worker.settings import Settings
from shared.config.models import Config, EngineConfig
from shared.events.base import Operation

log = structlog.get_logger(__name__)

LOOPBACK = ("localhost", "127.0.0.1", "::1")


async def assemble(config: Config, settings: Settings) -> list[Backend]:
    """All backends of this node, in the order in which a model that several offer is taken."""
    node = config.node(settings.node)
    engines = list(node.engines)
    if node.discover:
        engines += unnamed(await find_engines(), engines)
    servers = [connect(engine, config, os.environ) for engine in engines]
    backends: list[Backend] = [Heuristic(config.heuristics), *servers]
    if is_installed():
        llama_cpp = LlamaCpp(config.models, settings.data, connect_s=config.attempts.connect_s)
        backends.insert(1, llama_cpp)
        llama_cpp.offers_tiny = False
        llama_cpp.offers_tiny = settings.tiny == "always" or not await _any_writes(backends)
    elif any(model.engine == "llama_cpp" for model in config.models.values()):
        log.warning("llama_cpp_not_installed", todo="pip install 'roundhouse[embedded]'")
    return backends


async def find_more(
    config: Config, settings: Settings, connected: Iterable[Backend]
) -> list[Backend]:
    """Backends for engines of this node that were started since it last looked."""
    node = config.node(settings.node)
    if not node.discover:
        return []
    known = [
        EngineConfig(kind=backend.engine, url=backend.url)
        for backend in connected
        if isinstance(backend, Ollama | OpenAI)
    ]
    found = unnamed(await find_engines(), [*node.engines, *known])
    return [connect(engine, config, os.environ) for engine in found]


def connect(engine: EngineConfig, config: Config, environment: Mapping[str, str]) -> Backend:
    """The backend for an engine that answers at a URL. Its key is taken from `environment`."""
    key = environment.get(engine.api_key_env) if engine.api_key_env else None
    if engine.api_key_env and not key:
        log.warning("engine_key_missing", url=engine.url, variable=engine.api_key_env)
    kinds: dict[str, type[Ollama | OpenAI]] = {"ollama": Ollama, "openai": OpenAI}
    return kinds[engine.kind](
        engine.url, config.models, connect_s=config.attempts.connect_s, api_key=key
    )


def unnamed(found: Iterable[EngineConfig], named: Iterable[EngineConfig]) -> list[EngineConfig]:
    """The engines found on this machine that the configuration does not name already."""
    known = {_address(engine.url) for engine in named}
    return [engine for engine in found if _address(engine.url) not in known]


async def _any_writes(backends: Iterable[Backend]) -> bool:
    """Whether a real model, and not rules alone, could answer in words."""
    answers = await asyncio.gather(
        *(backend.models() for backend in backends), return_exceptions=True
    )
    for answer in answers:
        if isinstance(answer, BackendError):
            log.warning("engine_silent", problem=str(answer))
        elif isinstance(answer, BaseException):
            raise answer
        elif any(Operation.CHAT in model.operations and not model.degraded for model in answer):
            return True
    return False


def _address(url: str) -> tuple[str | None, int | None]:
    parts = urlsplit(url)
    return ("loopback" if parts.hostname in LOOPBACK else parts.hostname), parts.port
