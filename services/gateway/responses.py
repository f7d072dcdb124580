"""Writing answers to the wire, in plain ASGI."""

from collections.abc import Sequence

from starlette.types import Receive, Send

from services.gateway.errors import ApiError
from services.gateway.intake import drain

RawHeaders = Sequence[tuple[bytes, bytes]]

JSON = (b"content-type", b"application/json")


async def send_json(send: Send, status: int, body: bytes, headers: RawHeaders) -> None:
    await send(_start(status, body, headers))
    await send({"type": "http.response.body", "body": body})


async def send_error(send: Send, error: ApiError, headers: RawHeaders = ()) -> None:
    await send_json(send, error.status, error.body(), [*error.headers(), *headers])


async def send_refusal(send: Send, receive: Receive, error: ApiError, linger_s: float) -> None:
    """Refuse a request whose body has not been read, and hear it out a little before closing."""
    body = error.body()
    await send(_start(error.status, body, [*error.headers(), (b"connection", b"close")]))
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await drain(receive, linger_s)
    await send({"type": "http.response.body"})


def _start(status: int, body: bytes, headers: RawHeaders) -> dict[str, object]:
    length = (b"content-length", b"%d" % len(body))
    return {
        "type": "http.response.start",
        "status": status,
        "headers": [JSON, length, *headers],
    }
