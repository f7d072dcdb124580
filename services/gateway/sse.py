"""The events of a streamed answer, as bytes. Pure."""

from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

from services.gateway.answers import account
from services.gateway.calls import Call
from services.gateway.errors import ApiError
from services.gateway.exchange import ReplyDelta
from shared.events.base import Operation

KEEP_ALIVE = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"


def error_event(error: ApiError) -> bytes:
    return b"data: " + error.body() + b"\n\n"


class Chunks:
    """Writes one answer's chunks. What all of them have in common is encoded once."""

    def __init__(self, call: Call, model: str, created_s: int) -> None:
        chat = call.submission.operation is Operation.CHAT
        self._chat = chat
        self._include_usage = call.include_usage
        head = {
            "id": ("chatcmpl-" if chat else "cmpl-") + call.submission.id,
            "object": "chat.completion.chunk" if chat else "text_completion",
            "created": created_s,
            "model": model,
        }
        self._head = b"data: " + to_json(head)[:-1]
        key = b'"delta":' if chat else b'"text":'
        self._before = self._head + b',"choices":[{"index":0,' + key
        usage = b',"usage":null}' if call.include_usage else b"}"
        self._after = b',"logprobs":null,"finish_reason":null}]' + usage + b"\n\n"
        self._content: list[str] = []

    @property
    def content(self) -> str:
        """What has been written so far."""
        return "".join(self._content)

    def first(self) -> bytes:
        """Who speaks; only a chat says so."""
        return self._chunk({"role": "assistant", "content": ""}) if self._chat else b""

    def piece(self, delta: ReplyDelta) -> bytes:
        self._content.append(delta.content)
        if not self._chat:
            return self._chunk(delta.content)
        said: dict[str, Any] = {"content": delta.content} if delta.content else {}
        return self._chunk(said | delta.extra if delta.extra else said)

    def rest(self, output: Mapping[str, Any]) -> bytes | None:
        """What of the finished answer has not been written; None: that cannot be told.

        Needed where pieces were lost on their way, or were never sent one by one.
        """
        choice = output["choices"][0]
        message = choice["message"] if self._chat else {"content": choice["text"]}
        extra = {key: value for key, value in message.items() if key not in ("role", "content")}
        whole, written = message["content"] or "", self.content
        if not whole.startswith(written) or (written and extra):
            return None
        return self.piece(ReplyDelta(whole[len(written) :], extra))

    def last(self, data: Mapping[str, Any]) -> bytes:
        """Why the answer ends, how it came about, and what it used if that was asked for."""
        reason = data["output"]["choices"][0]["finish_reason"]
        empty: dict[str, Any] = {"delta": {}} if self._chat else {"text": ""}
        choice = {"index": 0, **empty, "logprobs": None, "finish_reason": reason}
        end: dict[str, Any] = {"choices": [choice], "roundhouse": account(data)}
        if not self._include_usage:
            return self._event(end) + DONE
        usage = {"choices": [], "usage": data["output"]["usage"]}
        return self._event({**end, "usage": None}) + self._event(usage) + DONE

    def _chunk(self, said: dict[str, Any] | str) -> bytes:
        return self._before + to_json(said) + self._after

    def _event(self, tail: dict[str, Any]) -> bytes:
        return self._head + b"," + to_json(tail)[1:] + b"\n\n"
