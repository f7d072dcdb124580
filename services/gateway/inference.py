"""The endpoints that ask a model: `/v1/chat/completions`, `/v1/completions`, `/v1/embeddings`.

Plain ASGI: FastAPI's own handling of a request costs 50 us more.
"""

from time import monotonic

import structlog
from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

from services.gateway.answers import answer_body, answer_headers
from services.gateway.calls import Call, parse_inference
from services.gateway.desk import Desk
from services.gateway.errors import CLIENT_CLOSED_REQUEST, ApiError, from_reply
from services.gateway.exchange import ReplyFinal
from services.gateway.intake import ClientGone, read_json_body
from services.gateway.metrics import ANSWER_SECONDS, ANSWERS, WAITING
from services.gateway.replies import Asked
from services.gateway.responses import send_error, send_json, send_refusal
from services.gateway.streaming import StreamedAnswer
from shared.events.base import Operation

log = structlog.get_logger()


class InferenceEndpoint:
    """Answers calls of one operation, plain and streamed."""

    def __init__(self, operation: Operation, desk: Desk) -> None:
        self._operation = operation
        self._desk = desk
        self._seconds = ANSWER_SECONDS.labels(operation)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        since, status = monotonic(), 500
        WAITING.inc()
        try:
            status = await self._answer(scope, receive, send)
        finally:
            WAITING.dec()
            ANSWERS.labels(self._operation, str(status)).inc()
            self._seconds.observe(monotonic() - since)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> int:
        headers = dict(scope["headers"])
        try:
            raw = await read_json_body(headers, receive, self._desk.limits)
        except ClientGone:
            return CLIENT_CLOSED_REQUEST
        except ApiError as error:
            await send_refusal(send, receive, error, self._desk.limits.linger_s)
            return error.status
        request_id = ""
        try:
            call = await self._desk.numbered(parse_inference(self._operation, headers, raw))
            request_id = call.submission.id
            async with Asked(self._desk, call, receive) as asked:
                deliver = self._stream if call.submission.chunks else self._plain
                return await deliver(call, asked, send)
        except ApiError as error:
            _log(error, request_id)
            who = answer_headers(request_id, "", "", degraded=False, noise=False)
            await send_error(send, error, who if request_id else ())
            return error.status

    async def _plain(self, call: Call, asked: Asked, send: Send) -> int:
        while (item := await asked.next()) is not None:
            if isinstance(item, ReplyFinal):
                await self._respond(call, item, send)
                return 200
        return CLIENT_CLOSED_REQUEST

    async def _respond(self, call: Call, final: ReplyFinal, send: Send) -> None:
        if final.outcome != "completed":
            raise from_reply(final.outcome, final.data)
        body = answer_body(final.data, call)
        account = body["roundhouse"]
        headers = answer_headers(
            call.submission.id,
            final.data["model"],
            account["node"],
            degraded=account["degraded"],
            noise=account["noise"],
        )
        await send_json(send, 200, to_json(body), headers)

    async def _stream(self, call: Call, asked: Asked, send: Send) -> int:
        answer = StreamedAnswer(call, self._desk.exchange, send)
        try:
            while (item := await asked.next()) is not None:
                await answer.put(item)
                if isinstance(item, ReplyFinal):
                    return 200
        except ApiError as error:
            await answer.fail(error)
            _log(error, call.submission.id)
            return error.status
        return CLIENT_CLOSED_REQUEST


def _log(error: ApiError, request_id: str) -> None:
    if error.status >= 500:
        log.warning("not_answered", request=request_id, status=error.status, code=error.code)
