"""HTTP for streamed answers, on httptools: a general client costs three times as much CPU a stream.

One request at a time on a connection, no redirects, no compression, no proxies: engines are
neighbours. What it costs and what it saves: docs/adr/0004.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Mapping
from time import monotonic
from typing import cast
from urllib.parse import urlsplit

import httptools

from services.inference_worker.ticks import next_tick_in_s

FEW = 4
"""With more streams under way all are read once a tick: so often are chunks sent on."""


class UnreachableError(Exception):
    """There is no connection to be had."""


class BrokenOffError(Exception):
    """The connection ended, or made no sense, before the answer was over."""


class Connection(asyncio.Protocol):
    """One connection; its answer's status and headers, then its body as it comes."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.over = True
        """Nothing is asked, or everything answered."""
        self.reusable = False
        self.used_s = 0.0
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._unasked = False
        """Whether what comes is a second answer to one request."""
        self._news: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self._lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @property
    def usable(self) -> bool:
        """For another request. What nobody read of the last answer would stand before the next."""
        return self.over and self.reusable and not self._lost and not self._body

    def send(self, request: bytes) -> None:
        self.status, self.headers, self.over, self.reusable = 0, {}, False, False
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(request)

    async def pieces(self, unhurried: bool) -> AsyncGenerator[bytes, None]:
        """The body, all that has arrived at a time; the first of it comes after the head.

        `unhurried`: look for more only once a tick. Raises `BrokenOffError`.
        """
        while True:
            if self._body:
                piece = b"".join(self._body)
                self._body.clear()
                yield piece
                if unhurried and not self.over:
                    await self._a_tick()
            elif self.over:
                return
            elif self._error is not None:
                raise BrokenOffError(str(self._error)) from self._error
            else:
                await self._wait()

    async def head(self) -> None:
        """Wait for status and headers. Raises `BrokenOffError`."""
        while not self.status and not self.over:
            if self._error is not None:
                raise BrokenOffError(str(self._error)) from self._error
            await self._wait()

    def close(self) -> None:
        self._transport.abort()

    async def _wait(self) -> None:
        self._news = asyncio.get_running_loop().create_future()
        await self._news

    async def _a_tick(self) -> None:
        self._transport.pause_reading()
        try:
            await asyncio.sleep(next_tick_in_s(asyncio.get_running_loop().time()))
        finally:
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    # --- of the transport, and of the parser -------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self.over:  # nobody asked for this
            self._transport.abort()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._error = error
            self._transport.abort()
        self._tell()

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        if not self.over:
            self.over = self.status != 0 and not self._is_delimited()
            self._error = self._error or error or ConnectionError("it hung up")
        self._tell()

    def on_message_begin(self) -> None:
        self._unasked = self.over

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        if not self._unasked:
            self._body.append(body)

    def on_message_complete(self) -> None:
        self.over = True
        self.reusable = self._parser.should_keep_alive() and not self._unasked

    def _is_delimited(self) -> bool:
        """Whether the answer says where it ends; one that does not ends with its connection."""
        chunked = b"chunked" in self.headers.get(b"transfer-encoding", b"").lower()
        return chunked or b"content-length" in self.headers


class Wire:
    """Connections to one engine, kept for the next request as long as `keep_alive_s`."""

    def __init__(self, url: str, *, connect_s: float, keep_alive_s: float) -> None:
        self._parts = urlsplit(url)
        self._path = self._parts.path.rstrip("/")
        self._authority = self._parts.netloc.rpartition("@")[2]
        self._connect_s = connect_s
        self._keep_alive_s = keep_alive_s
        self._idle: list[Connection] = []
        self._busy = 0

    async def post(
        self, path: str, headers: Mapping[str, str], body: bytes
    ) -> AsyncGenerator[Connection | bytes, None]:
        """The connection once its status and headers have come, then the body, piece by piece.

        Closing the generator early closes the connection, by which engines notice that nobody
        listens any more. Raises `UnreachableError` and `TimeoutError`, later `BrokenOffError`.
        """
        connection = await self._connection()
        self._busy += 1
        try:
            connection.send(self._head(path, headers, len(body)) + body)
            await connection.head()
            yield connection
            async for piece in connection.pieces(unhurried=self._busy > FEW):
                yield piece
        finally:
            self._busy -= 1
            self._put_back(connection)

    def close(self) -> None:
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    async def _connection(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and monotonic() - connection.used_s < self._keep_alive_s:
                return connection
            connection.close()
        secure = ssl.create_default_context() if self._parts.scheme == "https" else None
        try:
            port = self._parts.port or (443 if secure else 80)
            async with asyncio.timeout(self._connect_s):
                _, connection = await asyncio.get_running_loop().create_connection(
                    Connection, self._parts.hostname or "", port, ssl=secure
                )
        except TimeoutError:
            raise
        except (OSError, ValueError) as error:
            raise UnreachableError(str(error)) from error
        return connection

    def _put_back(self, connection: Connection) -> None:
        if connection.usable:
            connection.used_s = monotonic()
            self._idle.append(connection)
        else:
            connection.close()

    def _head(self, path: str, headers: Mapping[str, str], length: int) -> bytes:
        lines = [f"POST {self._path}{path} HTTP/1.1", f"Host: {self._authority}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode()
