"""A scripted engine that speaks OpenAI's protocol, as vLLM, LM Studio and llama-server do.

    python -m tests.fakes.openai_engine --port 0 --tokens 50 --token-s 0.01

It counts a word of the prompt as a token. Its answer is `word1 word2 ...`, or `--say`.
POST /_fault sets what goes wrong; GET /_state tells what it did.
"""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.fakes.serving import Faults, arguments, cut, for_ever, run

FAULTS = frozenset({"hang", "stall", "crash", "http500", "busy", "slow", "oom", "error_event"})
SLOWNESS = 50
BEFORE_THE_FAULT = 2
"""Tokens that get through before a stream stalls, breaks off or reports an error."""


@dataclass
class Engine:
    models: tuple[str, ...] = ("scripted",)
    tokens: int = 8
    token_s: float = 0.0
    first_token_s: float = 0.0
    context_tokens: int = 4096
    say: str = ""
    faults: Faults = field(default_factory=lambda: Faults(FAULTS))
    in_flight: int = 0
    most_in_flight: int = 0
    finished: int = 0
    abandoned: int = 0
    last_body: dict[str, Any] = field(default_factory=dict)

    def app(self) -> web.Application:
        app = web.Application(client_max_size=64 << 20)
        app.add_routes(
            [
                web.get("/health", self._health),
                web.get("/v1/models", self._models),
                web.post("/v1/chat/completions", self._generate),
                web.post("/v1/completions", self._generate),
                web.post("/v1/embeddings", self._embed),
                web.post("/_fault", self.faults.on_request),
                web.get("/_state", self._state),
            ]
        )
        return app

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _models(self, _: web.Request) -> web.Response:
        data = [
            {"id": model, "object": "model", "max_model_len": self.context_tokens}
            for model in self.models
        ]
        return web.json_response({"object": "list", "data": data})

    async def _state(self, _: web.Request) -> web.Response:
        counters = ("in_flight", "most_in_flight", "finished", "abandoned", "last_body")
        return web.json_response({name: getattr(self, name) for name in counters})

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.last_body = body
        refusal = await self._refusal(body)
        if refusal is not None:
            return refusal
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            answer = await (self._stream if body.get("stream") else self._whole)(request, body)
        except (asyncio.CancelledError, ConnectionError):
            self.abandoned += 1
            raise
        finally:
            self.in_flight -= 1
        self.finished += 1
        return answer

    async def _refusal(self, body: dict[str, Any]) -> web.Response | None:
        model = body.get("model", "")
        if model not in self.models:
            return _error(404, f"The model `{model}` does not exist.")
        if self.faults.strike("hang", model):
            await for_ever()
        for kind, status, message in (
            ("http500", 500, "internal error"),
            ("busy", 503, "too many requests are waiting"),
            ("oom", 500, "CUDA out of memory"),
        ):
            if self.faults.strike(kind, model):
                return _error(status, message)
        needed = _prompt_tokens(body)
        if needed > self.context_tokens:
            return _error(
                400,
                f"This model's maximum context length is {self.context_tokens} tokens. However,"
                f" you requested {needed} tokens in the messages.",
            )
        return None

    def _words(self, body: dict[str, Any]) -> tuple[list[str], str]:
        words = self.say.split() or [f"word{number + 1}" for number in range(self.tokens)]
        limit = body.get("max_tokens") or len(words)
        return words[:limit], "length" if limit < len(words) else "stop"

    async def _whole(self, _: web.Request, body: dict[str, Any]) -> web.Response:
        words, reason = self._words(body)
        await asyncio.sleep(self.first_token_s + self.token_s * len(words))
        text = " ".join(words)
        is_chat = "messages" in body
        said = {"message": {"role": "assistant", "content": text}} if is_chat else {"text": text}
        choice = {"index": 0, "finish_reason": reason, **said}
        return web.json_response(
            {"model": body["model"], "choices": [choice], "usage": _usage(body, len(words))}
        )

    async def _stream(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        words, reason = self._words(body)
        pause_s = self.token_s * (SLOWNESS if self.faults.strike("slow", body["model"]) else 1)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await asyncio.sleep(self.first_token_s)
        for number, word in enumerate(words):
            if number == BEFORE_THE_FAULT:
                await self._break(request, response, body["model"])
            piece = word if number == 0 else " " + word
            await response.write(_event(body, _piece(body, piece)))
            await asyncio.sleep(pause_s)
        await response.write(_event(body, {**_piece(body, ""), "finish_reason": reason}))
        if (body.get("stream_options") or {}).get("include_usage"):
            usage = {"choices": [], "usage": _usage(body, len(words))}
            await response.write(_event(body, None, usage))
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _break(self, request: web.Request, response: web.StreamResponse, model: str) -> None:
        if self.faults.strike("stall", model):
            await for_ever()
        if self.faults.strike("crash", model):
            cut(request)
            raise ConnectionResetError("scripted crash")
        if self.faults.strike("error_event", model):
            error = {"error": {"code": 500, "message": "the engine died", "type": "server_error"}}
            await response.write(b"data: " + json.dumps(error).encode() + b"\n\n")

    async def _embed(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.last_body = body
        refusal = await self._refusal(body)
        if refusal is not None:
            return refusal
        inputs = [body["input"]] if isinstance(body["input"], str) else body["input"]
        data = [
            {"object": "embedding", "index": index, "embedding": [float(len(text)), 1.0]}
            for index, text in enumerate(inputs)
        ]
        return web.json_response(
            {"object": "list", "data": data[::-1], "usage": {"prompt_tokens": len(inputs)}}
        )


def _prompt_tokens(body: dict[str, Any]) -> int:
    texts = [str(message.get("content")) for message in body.get("messages") or ()]
    texts += [str(body.get(name)) for name in ("prompt", "input") if name in body]
    return sum(len(text.split()) for text in texts)


def _usage(body: dict[str, Any], completion_tokens: int) -> dict[str, int]:
    prompt_tokens = _prompt_tokens(body)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def _piece(body: dict[str, Any], text: str) -> dict[str, Any]:
    said = {"delta": {"content": text}} if "messages" in body else {"text": text}
    return {"index": 0, "finish_reason": None, **said}


def _event(
    body: dict[str, Any], choice: dict[str, Any] | None, rest: dict[str, Any] | None = None
) -> bytes:
    event = {"model": body["model"], "choices": [choice], **(rest or {})}
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "code": status}}, status=status)


def main() -> None:
    engine = Engine()

    def extend(parser: Any) -> None:
        parser.add_argument("--models", default="scripted", help="names, with commas between")
        parser.add_argument("--tokens", type=int, default=engine.tokens, help="words per answer")
        parser.add_argument("--token-s", type=float, default=engine.token_s)
        parser.add_argument("--first-token-s", type=float, default=engine.first_token_s)
        parser.add_argument("--context-tokens", type=int, default=engine.context_tokens)
        parser.add_argument("--say", default="", help="the answer, instead of counted words")

    options = arguments("A scripted engine with OpenAI's protocol.", engine.faults, extend)
    engine.models = tuple(options.models.split(","))
    for name in ("tokens", "token_s", "first_token_s", "context_tokens", "say"):
        setattr(engine, name, getattr(options, name))
    run(engine.app(), options.port)


if __name__ == "__main__":
    main()
