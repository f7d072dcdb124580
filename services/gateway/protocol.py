"""uvicorn's HTTP protocol with the bounds that it lacks: on the head of a request, in bytes and
seconds, and on a client that takes nothing off our hands."""

import asyncio
import re
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.gateway.errors import ApiError

HEAD_BYTES = 64 * 1024
HEAD_S = 10.0
STALL_S = 60.0

_UPGRADE = re.compile(rb"(?i)\r\nupgrade:")


class _HeadTooLongError(Exception):
    """Ends the parsing of a request that was refused."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """Closes connections whose request line and headers are too long or too slow to come, and
    those whose peer reads nothing for a minute while an answer is waiting for it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_bytes = 0
        self._packet_bytes = 0
        self._in_head = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        self._peer_reads()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._between_requests():
            self._expect_head()
        self._packet_bytes = len(data)
        if self._in_head:
            self._head_bytes += len(data)
            data = _without_upgrade(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > HEAD_BYTES:
            self._refuse_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect_head()

    def on_headers_complete(self) -> None:
        # Only what came in many or large packets can be too long; the others are not counted.
        if self._head_bytes + self._packet_bytes > HEAD_BYTES and self._head_length() > HEAD_BYTES:
            self._refuse_head()
            raise _HeadTooLongError
        self._head_is_here()
        super().on_headers_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall_timer = self.loop.call_later(STALL_S, self.transport.abort)

    def resume_writing(self) -> None:
        self._peer_reads()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Also what follows `_HeadTooLongError`, whose answer has been given."""
        if not self.transport.is_closing():
            self._refuse(b"400 Bad Request", ApiError(400, msg))

    def _head_length(self) -> int:
        """Bytes of the request line and the headers that were parsed, about as they came."""
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _between_requests(self) -> bool:
        return not self._in_head and self.cycle is not None and self.cycle.response_complete

    def _expect_head(self) -> None:
        self._in_head = True
        self._stop_head_timer()
        self._head_timer = self.loop.call_later(HEAD_S, self.transport.close)

    def _head_is_here(self) -> None:
        self._in_head, self._head_bytes = False, 0
        self._stop_head_timer()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _peer_reads(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _refuse_head(self) -> None:
        if not self.transport.is_closing():
            error = ApiError(431, f"The headers are longer than {HEAD_BYTES} bytes.")
            self._refuse(b"431 Request Header Fields Too Large", error)

    def _refuse(self, status: bytes, error: ApiError) -> None:
        body = error.body()
        self.transport.write(
            b"HTTP/1.1 %b\r\nserver: roundhouse\r\n"
            b"content-type: application/json\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n%b" % (status, len(body), body)
        )
        self.transport.close()


def _without_upgrade(data: bytes) -> bytes:
    """A request whose offer of another protocol (h2c) is not understood as one.

    uvicorn's parser stops at the offer and loses the body behind it.
    """
    head, blank, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(b"\r\nx-upgrade:", head) + blank + rest
