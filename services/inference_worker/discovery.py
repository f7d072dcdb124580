"""Finds the engines that answer on their usual ports of this machine."""

import asyncio
import json

import aiohttp
import structlog

from shared.config.models import EngineConfig

log = structlog.get_logger(__name__)

USUAL_PORTS = (
    11434,  # Ollama
    8080,  # llama-server, LocalAI; and our own gateway
    8081,  # LocalAI beside something else
    8000,  # vLLM
    1234,  # LM Studio
)

PROBE_S = 1.0

OURSELVES = "roundhouse"
"""The `server` header of our gateway, which answers like an engine and must not be taken for one:
its requests would come back to it for ever."""

OLLAMA_GREETING = b"Ollama is running"


async def find_engines(
    ports: tuple[int, ...] = USUAL_PORTS, host: str = "127.0.0.1"
) -> list[EngineConfig]:
    """All engines that answer within a second, in the order of `ports`."""
    timeout = aiohttp.ClientTimeout(total=PROBE_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        found = await asyncio.gather(*(_probe(session, f"http://{host}:{port}") for port in ports))
    return [engine for engine in found if engine is not None]


async def _probe(session: aiohttp.ClientSession, url: str) -> EngineConfig | None:
    try:
        async with session.get(f"{url}/v1/models", allow_redirects=False) as response:
            if response.headers.get("Server", "").lower().startswith(OURSELVES):
                return None
            if response.status in (401, 403):
                log.info(
                    "engine_wants_a_key",
                    url=url,
                    todo="name it under nodes in roundhouse.yaml, with api_key_env",
                )
                return None
            is_openai = response.status == 200 and _lists_models(await response.text())
        # Ollama speaks OpenAI's protocol too; its own can do more.
        async with session.get(url, allow_redirects=False) as response:
            if await response.content.read(len(OLLAMA_GREETING)) == OLLAMA_GREETING:
                return EngineConfig(kind="ollama", url=url)
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None
    return EngineConfig(kind="openai", url=url) if is_openai else None


def _lists_models(text: str) -> bool:
    answer = json.loads(text)
    return isinstance(answer, dict) and isinstance(answer.get("data"), list)
