"""Reading the body of a request without letting it take more room or time than it may."""

import asyncio

from starlette.types import Receive

from services.gateway.calls import Headers
from services.gateway.errors import ApiError
from services.gateway.limits import Limits


class ClientGone(Exception):  # noqa: N818 - nothing went wrong
    """Nobody is there any more to answer to."""


async def read_json_body(headers: Headers, receive: Receive, limits: Limits) -> bytes:
    """The whole body. Raises `ApiError` and `ClientGone`."""
    _check_kind(headers)
    if _stated_length(headers) > limits.body_bytes:
        raise _too_large(limits)
    try:
        async with asyncio.timeout(limits.body_s):
            return await _read(receive, limits)
    except TimeoutError:
        raise ApiError(
            408, f"The body was not complete after {limits.body_s:g} s.", code="body_timeout"
        ) from None


async def drain(receive: Receive, linger_s: float) -> None:
    """Discard what a client is still sending, until it has finished or the time is over."""
    try:
        async with asyncio.timeout(linger_s):
            while (message := await receive())["type"] == "http.request":
                if not message.get("more_body"):
                    return
    except TimeoutError:
        return


async def _read(receive: Receive, limits: Limits) -> bytes:
    parts: list[bytes] = []
    room = limits.body_bytes
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part = message.get("body", b"")
        room -= len(part)
        if room < 0:
            raise _too_large(limits)
        parts.append(part)
        if not message.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _check_kind(headers: Headers) -> None:
    """Only JSON that says so: browsers do not let foreign pages send that without asking."""
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind != b"application/json" and not kind.endswith(b"+json"):
        raise ApiError(
            415,
            "The body must be JSON; send it with the header Content-Type: application/json.",
            code="unsupported_media_type",
        )
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise ApiError(
            415, "Compressed bodies are not accepted.", code="unsupported_content_encoding"
        )


def _stated_length(headers: Headers) -> int:
    stated = headers.get(b"content-length", b"")
    return int(stated) if stated.isdigit() else 0


def _too_large(limits: Limits) -> ApiError:
    return ApiError(
        413, f"The body is larger than {limits.body_bytes} bytes.", code="body_too_large"
    )
