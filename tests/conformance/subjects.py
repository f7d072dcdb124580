"""The backends under test, each with its engine in a process of its own."""

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.inference_worker.backends.heuristic import Heuristic
from services.inference_worker.backends.llama_cpp import LlamaCpp
from services.inference_worker.backends.ollama import Ollama
from services.inference_worker.backends.openai import OpenAI
from services.inference_worker.backends.port import Backend, Call, Delta, Finished, Profile
from shared.config.models import DEFAULT_HEURISTICS
from shared.events.base import Operation
from tests.fakes.serving import Process, spawned
from tests.llama_servers import llama_servers

CONTEXT_TOKENS = 2048
SLOTS = 2
ENDLESS_TOKENS = 1900
"""An answer that takes some seconds, so that something can happen to it."""


@dataclass
class Subject:
    """A backend, profiles for its models, and the process behind it."""

    backend: Backend
    profile: Profile
    pid: Callable[[], int]
    embedder: Profile | None = None

    def call(self, operation: Operation, limit: int | None = None, **body: Any) -> Call:
        return Call(self.profile, operation, body, limit)

    def chat(self, text: str = "hello there", limit: int | None = 8, **more: Any) -> Call:
        messages = [{"role": "user", "content": text}]
        return self.call(Operation.CHAT, limit, messages=messages, **more)

    def endless(self) -> Call:
        return self.chat(limit=ENDLESS_TOKENS, ignore_eos=True)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid(), number)

    async def close(self) -> None:
        """Leave the engine as it was found: others use it too."""
        try:
            for model in await self.backend.models():
                if model.loadable:
                    await self.backend.unload(model.name)
        finally:
            await self.backend.close()


async def answer(backend: Backend, call: Call) -> tuple[str, Finished]:
    """The whole text, and the account at its end."""
    *deltas, finished = [piece async for piece in backend.stream(call)]
    assert isinstance(finished, Finished)
    assert all(isinstance(delta, Delta) for delta in deltas)
    return "".join(delta.content for delta in deltas if isinstance(delta, Delta)), finished


class Engines:
    """Starts the engines' processes, each when it is first asked for."""

    def __init__(self, tiny: Path) -> None:
        self._tiny = tiny
        self._running: dict[str, Process] = {}
        self._stack = ExitStack()

    def subject(self, kind: str) -> Subject:
        kinds = {
            "llama_cpp": self._llama_cpp,
            "openai": self._openai,
            "ollama": self._ollama,
            "heuristic": self._heuristic,
        }
        return kinds[kind]()

    def close(self) -> None:
        self._stack.close()

    def _llama_cpp(self) -> Subject:
        backend = LlamaCpp({}, self._tiny.parents[1])
        profile = Profile("tiny", CONTEXT_TOKENS, SLOTS)
        return Subject(backend, profile, lambda: llama_servers()[0].pid, profile)

    def _openai(self) -> Subject:
        server = self._server(
            *("services.inference_worker.llama_server", str(self._tiny), "--alias", "served"),
            *("--slots", str(SLOTS), "--context", str(CONTEXT_TOKENS), "--threads", "1"),
            *("--embed-tokens", "512", "--pool-last"),
        )
        profile = Profile("served", CONTEXT_TOKENS, SLOTS)
        return Subject(OpenAI(server.url, {}), profile, lambda: server.pid, profile)

    def _ollama(self) -> Subject:
        server = self._server(
            *("tests.fakes.ollama", "--token-s", "0.002", "--tokens", str(ENDLESS_TOKENS)),
            *("--parallel", str(SLOTS)),
        )
        profile = Profile("small:latest", CONTEXT_TOKENS, SLOTS)
        embedder = Profile("embedder:latest", 512, SLOTS)
        return Subject(Ollama(server.url, {}), profile, lambda: server.pid, embedder)

    def _heuristic(self) -> Subject:
        profile = Profile("heuristic:tickets", CONTEXT_TOKENS, SLOTS)
        return Subject(Heuristic(DEFAULT_HEURISTICS), profile, os.getpid)

    def _server(self, *command: str) -> Process:
        running = self._running.get(command[0])
        if running is None or running.process.poll() is not None:
            running = self._stack.enter_context(spawned(*command))
            self._running[command[0]] = running
        return running
