"""A mock engine that costs as little as it can: OpenAI chat completions, whole and in chunks.

    python -m tests.benchmarks.engine --port 0 --chunks 50 --chunk-s 0.01

Model `instant` answers at once, `paced` waits `--chunk-s` before each chunk of a stream, `held`
never answers. Every chunk is a write to the socket of its own, as engines do it; hence asyncio's
own loop, which does not gather writes as uvloop does. Its CPU time is no part of any figure.
"""

import argparse
import asyncio
import json
import os
import signal
import sys

import httptools

INSTANT = "instant"
PACED = "paced"
HELD = "held"
CONTEXT_TOKENS = 8192
PROMPT_TOKENS = 42


def words(chunks: int) -> list[str]:
    return [f"token{number} " for number in range(1, chunks + 1)]


def last_word(chunks: int) -> str:
    """By which an asker sees that an answer is complete."""
    return words(chunks)[-1].strip()


class Answers:
    """All that is ever said, written once. `tail` ends a stream, with the usage or without."""

    def __init__(self, model: str, chunks: int) -> None:
        said = words(chunks)
        usage = {
            "prompt_tokens": PROMPT_TOKENS,
            "completion_tokens": chunks,
            "total_tokens": PROMPT_TOKENS + chunks,
        }
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": "".join(said)},
            "finish_reason": "stop",
        }
        whole = _document(model, "chat.completion", choices=[choice], usage=usage)
        self.whole = _response(whole)
        self.chunks = [
            _chunk(model, {"content": word} | ({} if number else {"role": "assistant"}))
            for number, word in enumerate(said)
        ]
        end = _chunk(model, {}, "stop")
        counted = _event(_document(model, "chat.completion.chunk", choices=[], usage=usage))
        done = _http_chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
        self.tail, self.tail_with_usage = end + done, end + counted + done


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


class Connection(asyncio.Protocol):
    """One client; requests on a connection come one after the other."""

    def __init__(self, answers: dict[str, Answers], models: bytes, chunk_s: float) -> None:
        self._answers = answers
        self._models = models
        self._chunk_s = chunk_s
        self._parser = httptools.HttpRequestParser(self)
        self._body = b""
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._body = b""

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self._parser.get_method() == b"GET":
            self._transport.write(self._models)
            return
        asked = json.loads(self._body)
        if asked["model"] == HELD:
            return
        answers = self._answers[asked["model"]]
        if not asked.get("stream"):
            self._transport.write(answers.whole)
            return
        options = asked.get("stream_options") or {}
        tail = answers.tail_with_usage if options.get("include_usage") else answers.tail
        self._transport.write(STREAM_HEAD)
        pieces = [*answers.chunks, tail]
        if asked["model"] == PACED:
            self._say(pieces, asyncio.get_running_loop().time())
        else:
            for piece in pieces:
                self._transport.write(piece)

    def _say(self, pieces: list[bytes], now_s: float, number: int = 0) -> None:
        """Every chunk when it is due, also where the one before was late."""
        if number:
            self._transport.write(pieces[number - 1])
        if number == len(pieces):
            return
        due_s = now_s + self._chunk_s
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(due_s, self._say, pieces, due_s, number + 1)


def _document(model: str, kind: str, **rest: object) -> bytes:
    head = {"id": "chatcmpl-mock", "object": kind, "created": 1700000000, "model": model}
    return json.dumps(head | rest, separators=(",", ":")).encode()


def _chunk(model: str, delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return _event(_document(model, "chat.completion.chunk", choices=[choice]))


def _event(document: bytes) -> bytes:
    return _http_chunk(b"data: " + document + b"\n\n")


def _http_chunk(piece: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(piece), piece)


def _response(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


def _model_list() -> bytes:
    models = [
        {"id": model, "object": "model", "max_model_len": CONTEXT_TOKENS}
        for model in (INSTANT, PACED, HELD)
    ]
    return _response(json.dumps({"object": "list", "data": models}).encode())


async def _serve(port: int, chunks: int, chunk_s: float) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    answers = {model: Answers(model, chunks) for model in (INSTANT, PACED)}
    models = _model_list()
    server = await loop.create_server(
        lambda: Connection(answers, models, chunk_s), "127.0.0.1", port, backlog=1024
    )
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    sys.stdout.write(json.dumps({"ready": True, "url": url, "pid": os.getpid()}) + "\n")
    sys.stdout.flush()
    await stopped.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="A mock engine for benchmarks.")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--chunks", type=int, default=50, help="chunks of an answer")
    parser.add_argument("--chunk-s", type=float, default=0.01, help="between chunks of `paced`")
    options = parser.parse_args()
    asyncio.run(_serve(options.port, options.chunks, options.chunk_s))


if __name__ == "__main__":
    main()
