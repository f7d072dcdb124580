"""A server that speaks Ollama's API and behaves as Ollama's scheduler does, without a model.

    python -m tests.fakes.ollama --port 0 --load-s 0.5

What it keeps to: an empty prompt loads, with keep_alive 0 it unloads and says so before it has;
one load at a time, during which /api/ps gives no answer, and which ends when its client leaves;
another num_ctx reloads the model; a prompt too long is cut in silence unless `truncate` is false;
after the first line errors come as lines; durations are nanoseconds. A word is a token.
POST /_fault sets what goes wrong; GET /_state tells what it did.
"""

import asyncio
import json
from dataclasses import dataclass, field
from time import monotonic_ns
from typing import Any

from aiohttp import web

from tests.fakes.ollama_scheduler import Runner, Scheduler, Weights, problem
from tests.fakes.serving import Faults, arguments, cut, for_ever, run

SLOWNESS = 50
BEFORE_THE_FAULT = 2
"""Tokens that get through before a stream stalls, breaks off or reports an error."""

NANOSECONDS = 1_000_000_000


@dataclass
class Ollama:
    scheduler: Scheduler = field(default_factory=Scheduler)
    token_s: float = 0.0
    tokens: int = 8
    last_body: dict[str, Any] = field(default_factory=dict)

    @property
    def faults(self) -> Faults:
        return self.scheduler.faults

    def app(self) -> web.Application:
        app = web.Application(client_max_size=64 << 20)
        app.add_routes(
            [
                web.get("/", self._greet),
                web.get("/v1/models", self._openai_models),
                web.get("/api/version", self._version),
                web.get("/api/tags", self._tags),
                web.get("/api/ps", self._ps),
                web.post("/api/show", self._show),
                web.post("/api/generate", self._generate),
                web.post("/api/chat", self._generate),
                web.post("/api/embed", self._embed),
                web.post("/_fault", self.faults.on_request),
                web.get("/_state", self._state),
            ]
        )
        return app

    async def _greet(self, _: web.Request) -> web.Response:
        return web.Response(text="Ollama is running")

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": "0.33.0"})

    async def _openai_models(self, _: web.Request) -> web.Response:
        data = [{"id": each.name, "object": "model"} for each in self.scheduler.weights]
        return web.json_response({"object": "list", "data": data or None})

    async def _tags(self, _: web.Request) -> web.Response:
        return web.json_response({"models": [_tag(each) for each in self.scheduler.weights]})

    async def _ps(self, _: web.Request) -> web.Response:
        async with self.scheduler.loading:
            running = [
                {
                    **_tag(self.scheduler.named(name)),
                    "size_vram": 0,
                    "context_length": runner.num_ctx,
                    "expires_at": "2318-01-01T00:00:00Z",
                }
                for name, runner in self.scheduler.runners.items()
            ]
        return web.json_response({"models": running})

    async def _show(self, request: web.Request) -> web.Response:
        weights = self.scheduler.named((await request.json())["model"])
        if self.faults.strike("unshown", weights.name):
            raise problem(500, "no such file or directory")
        info = {
            "general.architecture": "llama",
            "llama.block_count": 4,
            "llama.context_length": weights.trained_context,
            "llama.embedding_length": 256,
            "llama.attention.head_count": 8,
            "llama.attention.head_count_kv": 4,
            "tokenizer.ggml.tokens": None,
        }
        shown = {"model_info": info, "capabilities": weights.capabilities, "details": {}}
        return web.json_response(shown)

    async def _state(self, _: web.Request) -> web.Response:
        scheduler = self.scheduler
        held = {name: runner.in_flight for name, runner in scheduler.runners.items()}
        return web.json_response(
            {**scheduler.counts, "in_flight": held, "last_body": self.last_body}
        )

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.last_body = body
        name = self.scheduler.named(body["model"]).name
        is_chat = request.path == "/api/chat"
        messages = body.get("messages") or ()
        text = " ".join(str(message.get("content")) for message in messages)
        text = text if is_chat else body.get("prompt", "")
        if not text and body.get("keep_alive") == 0:
            self.scheduler.expire(name)
            return web.json_response({"model": name, "done": True, "done_reason": "unload"})
        await self._go_wrong_at_once(name)
        async with self.scheduler.running(body, name) as (runner, load_ns):
            if not text:
                return web.json_response({"model": name, "done": True, "done_reason": "load"})
            prompt_tokens = _fitted(body, runner, text)
            async with runner.slots:
                return await self._stream(request, body, prompt_tokens, load_ns)

    async def _embed(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.last_body = body
        name = self.scheduler.named(body["model"]).name
        await self._go_wrong_at_once(name)
        async with self.scheduler.running(body, name) as (runner, load_ns):
            given = body.get("input") or []
            inputs = [given] if isinstance(given, str) else given
            too_long = any(len(text.split()) > runner.num_ctx for text in inputs)
            if too_long and body.get("truncate") is False:
                raise problem(400, "the input length exceeds the context length")
            return web.json_response(
                {
                    "model": name,
                    "embeddings": [[float(len(text)), 1.0] for text in inputs],
                    "prompt_eval_count": sum(len(text.split()) for text in inputs),
                    "load_duration": load_ns,
                }
            )

    async def _stream(
        self, request: web.Request, body: dict[str, Any], prompt_tokens: int, load_ns: int
    ) -> web.StreamResponse:
        is_chat = request.path == "/api/chat"
        if self.faults.strike("hang", body["model"]):
            await for_ever()
        pause_s = self.token_s * (SLOWNESS if self.faults.strike("slow", body["model"]) else 1)
        limit = body["options"].get("num_predict", -1)
        count = self.tokens if limit < 0 else min(limit, self.tokens)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        began_ns = monotonic_ns()
        for record in _opening(body):
            await response.write(_line(record))
        for number in range(count):
            if number == BEFORE_THE_FAULT:
                await self._go_wrong_midway(request, response, body["model"])
            await response.write(_line(_said(is_chat, f"word{number + 1} ")))
            await asyncio.sleep(pause_s)
        final = {
            "done": True,
            "done_reason": "length" if 0 <= limit < self.tokens else "stop",
            "prompt_eval_count": prompt_tokens,
            "prompt_eval_duration": NANOSECONDS // 1000,
            "eval_count": count,
            "eval_duration": monotonic_ns() - began_ns,
            "load_duration": load_ns,
        }
        await response.write(_line({**_said(is_chat, ""), **final}))
        return response

    async def _go_wrong_at_once(self, name: str) -> None:
        if self.faults.strike("http500", name):
            raise problem(500, "llama runner process has terminated: exit status 2")
        if self.faults.strike("busy", name):
            raise problem(503, "server busy, please try again.  maximum pending requests exceeded")

    async def _go_wrong_midway(
        self, request: web.Request, response: web.StreamResponse, name: str
    ) -> None:
        if self.faults.strike("stall", name):
            await for_ever()
        if self.faults.strike("crash", name):
            cut(request)
            raise ConnectionResetError("scripted crash")
        if self.faults.strike("error_line", name):
            await response.write(_line({"error": "model runner has unexpectedly stopped"}))


def _tag(weights: Weights) -> dict[str, Any]:
    tag = {
        "name": weights.name,
        "model": weights.name,
        "size": weights.size,
        "digest": weights.digest,
        "details": {"format": "gguf", "quantization_level": "Q4_K_M"},
    }
    return {**tag, "remote_host": weights.remote_host} if weights.remote_host else tag


def _fitted(body: dict[str, Any], runner: Runner, text: str) -> int:
    """The prompt's tokens, cut to the context unless `truncate` forbids it."""
    needed = len(text.split())
    if needed <= runner.num_ctx:
        return needed
    if body.get("truncate") is False:
        # As llama-server says it, which Ollama passes on as a text.
        details = {
            "code": 400,
            "message": f"request ({needed} tokens) exceeds the available context size"
            f" ({runner.num_ctx} tokens), try increasing it",
            "type": "exceed_context_size_error",
        }
        raise problem(400, json.dumps({"error": details}))
    return runner.num_ctx


def _opening(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Thinking and tool calls, where the request provokes them."""
    records: list[dict[str, Any]] = []
    if body.get("think"):
        records.append({"message": {"content": "", "thinking": "hmm"}, "done": False})
    for tool in body.get("tools") or ():
        function = {"name": tool["function"]["name"], "arguments": {"city": "Paris"}}
        message = {"content": "", "tool_calls": [{"function": function}]}
        records.append({"message": message, "done": False})
    return records


def _said(is_chat: bool, text: str) -> dict[str, Any]:
    said = {"message": {"role": "assistant", "content": text}} if is_chat else {"response": text}
    return {**said, "done": False}


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(record).encode() + b"\n"


def main() -> None:
    ollama = Ollama()
    scheduler = ollama.scheduler

    def extend(parser: Any) -> None:
        parser.add_argument("--load-s", type=float, default=scheduler.load_s)
        parser.add_argument("--unload-s", type=float, default=scheduler.unload_s)
        parser.add_argument("--parallel", type=int, default=scheduler.parallel)
        parser.add_argument("--token-s", type=float, default=ollama.token_s)
        parser.add_argument("--tokens", type=int, default=ollama.tokens, help="words per answer")

    options = arguments("A fake Ollama.", ollama.faults, extend)
    scheduler.load_s, scheduler.unload_s = options.load_s, options.unload_s
    scheduler.parallel = options.parallel
    ollama.token_s, ollama.tokens = options.token_s, options.tokens
    run(ollama.app(), options.port)


if __name__ == "__main__":
    main()
