"""One engine's HTTP address: plain calls, streams of lines, and what their failures mean."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any, cast

import aiohttp

from services.inference_worker.backends.failures import failure
from services.inference_worker.backends.port import BackendError
from services.inference_worker.backends.wire import (
    BrokenOffError,
    Connection,
    UnreachableError,
    Wire,
)
from shared.events.inference import FailureReason

CONTROL_S = 2.0
"""Patience for questions about the engine itself, which a healthy one answers in milliseconds."""

KEEP_ALIVE_S = 2.0
"""How long an idle connection may be used again: less than the 5 s after which uvicorn and Node
hang up, so that no request meets a connection that is just being closed."""

HANGS_UP = "llama.cpp"
"""The `server` header of the one that hangs up after a stream without having said so; the next
request on that connection would be lost. From its first answer on it is asked to say so."""


class EngineHttp:
    """An HTTP client for one engine. Every method raises `BackendError` and no other failure.

    `hangs_up`: it is known to be the `llama.cpp` server, and need not be recognised first.
    """

    def __init__(
        self, url: str, *, connect_s: float, api_key: str | None = None, hangs_up: bool = False
    ) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        self._connect_s = connect_s
        self._headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key.strip()}"
        if hangs_up:
            self._headers["Connection"] = "close"
        self._wire = Wire(self.url, connect_s=connect_s, keep_alive_s=KEEP_ALIVE_S)
        self._session: aiohttp.ClientSession | None = None

    async def get(self, path: str, timeout_s: float = CONTROL_S) -> Any:
        """The JSON at `path`."""
        return await self._json("GET", path, None, timeout_s)

    async def post(
        self, path: str, body: dict[str, Any], timeout_s: float | None = CONTROL_S
    ) -> Any:
        """The JSON that `path` answers to `body`. None: wait as long as the caller does."""
        return await self._json("POST", path, body, timeout_s)

    async def lines(self, path: str, body: dict[str, Any]) -> AsyncGenerator[list[bytes], None]:
        """The answer's lines, all that have arrived at a time. Closing the iterator early closes
        the connection, by which engines notice that nobody listens any more."""
        rest = b""
        with self._failures():
            async with aclosing(self._wire.post(path, self._headers, _encoded(body))) as answer:
                await self._head(answer)
                async for piece in answer:
                    *lines, rest = (rest + cast("bytes", piece)).split(b"\n")
                    if lines:
                        yield lines
        if rest:
            yield [rest]

    async def _head(self, answer: AsyncGenerator[Connection | bytes, None]) -> None:
        """Take in status and headers. Raises `BackendError` where the engine refuses."""
        connection = cast("Connection", await anext(answer))
        if connection.headers.get(b"server") == HANGS_UP.encode():
            self._headers["Connection"] = "close"
        if connection.status != 200:
            pieces = [cast("bytes", piece) async for piece in answer]
            raise failure(b"".join(pieces).decode(errors="replace"), connection.status)

    async def close(self) -> None:
        self._wire.close()
        if self._session is not None:
            await self._session.close()

    async def _json(
        self, method: str, path: str, body: dict[str, Any] | None, timeout_s: float | None
    ) -> Any:
        async with self._answer(method, path, body, timeout_s) as response:
            text = await response.text(errors="replace")
        try:
            return json.loads(text)
        except ValueError as error:
            raise BackendError(
                FailureReason.REFUSED,
                f"{self.url}{path} answers something that is no JSON; is this an engine?",
            ) from error

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, body: dict[str, Any] | None, timeout_s: float | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        with self._failures():
            response = await self._opened().request(
                method,
                self.url + path,
                data=_encoded(body) or None,
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=self._connect_s),
                allow_redirects=False,
            )
            if response.headers.get("Server") == HANGS_UP:
                self._headers["Connection"] = "close"
            try:
                if response.status != 200:
                    raise failure(await response.text(errors="replace"), response.status)
                yield response
            finally:
                response.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # Slots bound what runs at a time; a queue for connections would hide requests.
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise BackendError(
                FailureReason.TIMED_OUT, f"{self.url} does not answer in time"
            ) from error
        except (aiohttp.ClientConnectorError, aiohttp.InvalidURL, UnreachableError) as error:
            raise BackendError(
                FailureReason.REFUSED, f"{self.url} cannot be reached: {error}"
            ) from error
        except (aiohttp.ClientError, ConnectionError, BrokenOffError) as error:
            raise BackendError(
                FailureReason.CRASHED, f"{self.url} broke off: {error or type(error).__name__}"
            ) from error


def _encoded(body: dict[str, Any] | None) -> bytes:
    return b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
