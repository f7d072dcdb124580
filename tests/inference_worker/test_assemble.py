"""A node's backends: what is configured, what is found, and the tiny model where nothing is."""

from pathlib import Path
from typing import Any

import pytest

from services.inference_worker.backends.assemble import assemble, connect, unnamed
from services.inference_worker.backends.port import Backend
from services.inference_worker.settings import Settings
from shared.config.models import Config, EngineConfig
from tests.fakes import ollama, openai_engine
from tests.fakes.serving import serving
from tests.servers import free_port


def config(*engines: dict[str, Any], **more: Any) -> Config:
    """Without discovery: who knows what runs on the machine of a test."""
    node = {"discover": False, "engines": engines}
    return Config.model_validate({"nodes": {"local": node}, **more})


async def names(config: Config, data: Path, **environment: Any) -> list[str]:
    backends = await assemble(config, Settings(data=data, **environment))
    found = [model.name for backend in backends for model in await backend.models()]
    await close(backends)
    return found


async def close(backends: list[Backend]) -> None:
    for backend in backends:
        await backend.close()


async def test_a_bare_node_offers_rules_and_the_tiny_model(tmp_path: Path) -> None:
    assert await names(config(), tmp_path) == ["heuristic:tickets", "tiny"]


async def test_a_node_with_a_real_model_does_not_offer_the_tiny_one(tmp_path: Path) -> None:
    async with serving(ollama.Ollama().app()) as url:
        found = await names(config({"kind": "ollama", "url": url}), tmp_path)

    assert "small:latest" in found
    assert "tiny" not in found


async def test_unless_it_is_told_to(tmp_path: Path) -> None:
    async with serving(openai_engine.Engine().app()) as url:
        wanted = config({"kind": "openai", "url": url})
        assert await names(wanted, tmp_path, tiny="always") == [
            "heuristic:tickets",
            "tiny",
            "scripted",
        ]


async def test_an_engine_that_only_embeds_does_not_replace_the_tiny_model(tmp_path: Path) -> None:
    async with serving(openai_engine.Engine(models=("nomic-embed",)).app()) as url:
        assert "tiny" in await names(config({"kind": "openai", "url": url}), tmp_path)


async def test_an_engine_that_is_down_keeps_no_node_from_starting(tmp_path: Path) -> None:
    absent = {"kind": "ollama", "url": f"http://127.0.0.1:{free_port()}"}

    backends = await assemble(config(absent), Settings(data=tmp_path))

    assert [backend.engine for backend in backends] == ["heuristic", "llama_cpp", "ollama"]
    await close(backends)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_a_named_engine_is_not_found_a_second_time(host: str) -> None:
    named = EngineConfig(kind="ollama", url=f"http://{host}:11434")
    other = EngineConfig(kind="openai", url="http://127.0.0.1:8000")
    same = EngineConfig(kind="ollama", url="http://127.0.0.1:11434")

    assert unnamed([same, other], [named]) == [other]


@pytest.mark.parametrize("environment", [{"KEY": "secret"}, {}], ids=["set", "missing"])
async def test_a_key_comes_from_the_environment_of_the_node(environment: dict[str, str]) -> None:
    engine = EngineConfig(kind="openai", url="http://127.0.0.1:1", api_key_env="KEY")

    backend = connect(engine, Config(), environment)

    assert backend.engine == "openai"
    await backend.close()
