"""The LiteLLM proxy, installed on demand in an environment of its own."""

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.benchmarks.engine import INSTANT, PACED
from tests.benchmarks.installing import environment
from tests.benchmarks.orders import Way
from tests.benchmarks.systems import Site, System, running, until_it_answers
from tests.servers import free_port

VERSION = "1.106.2"
PACKAGES = (f"litellm[proxy]=={VERSION}", "granian", "uvloop")
ENVIRONMENT = {
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_TELEMETRY": "False",
    "NO_PROXY": "127.0.0.1",
}
WARM_S = 6.0
"""With less, its first thousand requests cost up to twice as much."""


@asynccontextmanager
async def litellm(site: Site) -> AsyncIterator[System]:
    """One worker on granian, which is cheaper than uvicorn; no database, no retries."""
    home = await environment(site.cache, "litellm", *PACKAGES)
    folder = site.folder / "litellm"
    folder.mkdir()
    key = f"sk-{secrets.token_hex(16)}"
    settings = folder / "litellm.yaml"
    settings.write_text(json.dumps(_settings(site.engine_url, key)))  # JSON is YAML
    port, log = free_port(), folder / "log"
    command = (str(home / "bin" / "litellm"), "--config", str(settings), "--host", "127.0.0.1")
    options = ("--port", str(port), "--num_workers", "1", "--run_granian")
    async with running((*command, *options), log, ENVIRONMENT) as pid:
        url = f"http://127.0.0.1:{port}"
        await until_it_answers(url, log, f"Bearer {key}")
        yield System(
            name="LiteLLM",
            addresses={Way.HTTP: url},
            pids={"litellm": pid},
            version=VERSION,
            authorization=f"Bearer {key}",
            warm_s=WARM_S,
        )


def _settings(engine_url: str, key: str) -> dict[str, object]:
    """It refuses well-known master keys, so each run makes its own."""
    models = [
        {
            "model_name": model,
            "litellm_params": {
                "model": f"openai/{model}",
                "api_base": f"{engine_url}/v1",
                "api_key": "none",
            },
        }
        for model in (INSTANT, PACED)
    ]
    return {
        "model_list": models,
        "litellm_settings": {"callbacks": [], "num_retries": 0, "telemetry": False},
        "general_settings": {"master_key": key},
    }
