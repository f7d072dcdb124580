"""One POST to a receiver: to an address that was checked, in bounded time, whatever it answers."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from urllib.parse import urlsplit

import httpcore
import httpx
import structlog

from services.notifier.destinations import refusal
from services.notifier.verdict import Answered, Outcome, Unanswered, seconds_of
from shared.config import EndpointConfig
from shared.config.addresses import address_in

log = structlog.get_logger()

ANSWER_BYTES = 64 * 1024
"""Of an answer's body nothing is used; more of it is not read."""

HEADERS = {"user-agent": "roundhouse", "accept-encoding": "identity", "connection": "close"}
PORTS = {"http": 80, "https": 443}

ADDRESSES = 4
"""Of a name with many, so many are tried."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is to be delivered, signed, and how sensitive it is."""

    body: bytes
    headers: dict[str, str]
    dataclass: str | None
    """None: nobody's data, which may go anywhere."""


class NotCalledError(Exception):
    """Nothing was sent. `reason` is one word."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Caller:
    """`resolve` turns a name and port into addresses; it may raise `OSError`."""

    def __init__(self, resolve: Resolve | None = None) -> None:
        self._resolve = resolve or Resolver().addresses
        self._trust: ssl.SSLContext | None = None

    async def call(self, name: str, endpoint: EndpointConfig, parcel: Parcel) -> Outcome:
        """POST once. Redirects, cookies, proxies and kept connections do not exist here."""
        began_s = monotonic()
        try:
            async with asyncio.timeout(endpoint.timeout_s):
                status, retry_after_s = await self._call(name, endpoint, parcel)
        except NotCalledError as error:
            said = error.reason, str(error)
        except (TimeoutError, httpcore.TimeoutException):
            said = "timed_out", f"no complete answer within {endpoint.timeout_s:g} s"
        except httpcore.RemoteProtocolError:
            said = "invalid", "what came back is not HTTP, or broke off"
        except httpcore.NetworkError as error:
            said = _broken(error)
        except Exception as error:
            log.exception("call_failed", endpoint=name)
            said = "impossible", f"it cannot be called: {type(error).__name__}: {error}"
        else:
            return Answered(status, _ms_since(began_s), retry_after_s)
        return Unanswered(*said, _ms_since(began_s))

    async def _call(
        self, name: str, endpoint: EndpointConfig, parcel: Parcel
    ) -> tuple[int, float | None]:
        parts = urlsplit(endpoint.url)
        host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
        addresses = await self._addresses(host, port)
        if against := refusal(name, endpoint, host, addresses, parcel.dataclass):
            raise NotCalledError(against.reason, against.message)
        headers = {**HEADERS, "host": parts.netloc, **parcel.headers}
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        url = httpcore.URL(scheme=parts.scheme, host=host, port=port, target=target)
        network = _Pinned(addresses[:ADDRESSES], endpoint.timeout_s)
        trust = self._trusted() if parts.scheme == "https" else None
        try:
            async with (
                httpcore.AsyncConnectionPool(trust, network_backend=network) as pool,
                pool.stream(
                    "POST", url, headers=list(headers.items()), content=parcel.body
                ) as response,
            ):
                return await _read(response)
        finally:
            await network.close()

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        """At least one; raise `NotCalledError`."""
        try:
            literal = address_in(host)
        except ValueError as error:
            raise NotCalledError("forbidden", f"{host} is an odd spelling of an address") from error
        if literal is not None:
            return [str(literal)]
        try:
            found = await self._resolve(host, port)
        except (OSError, UnicodeError):
            found = ()
        if not found:
            raise NotCalledError("unresolved", f"no address is known for {host}")
        return found

    def _trusted(self) -> ssl.SSLContext:
        """Made when it is first needed: the authorities' certificates take memory."""
        if self._trust is None:
            self._trust = httpx.create_ssl_context()
        return self._trust


class _Pinned(httpcore.AsyncNetworkBackend):
    """Connects to the addresses that were checked, whatever name is asked for; TLS and the Host
    header still go by the name. Closes what it opened, also where TLS was interrupted.
    """

    def __init__(self, addresses: Sequence[str], within_s: float) -> None:
        self._addresses = addresses
        self._connect_s = within_s / len(addresses)
        self._network = httpcore.AnyIOBackend()
        self._opened: list[httpcore.AsyncNetworkStream] = []

    async def connect_tcp(
        self,
        host: str,  # noqa: ARG002 - that is the point
        port: int,
        timeout: float | None = None,  # noqa: ARG002, ASYNC109 - the port of httpcore
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        failure: Exception = httpcore.ConnectError("no address")
        for address in self._addresses:
            try:
                stream = await self._network.connect_tcp(address, port, self._connect_s)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                self._opened.append(stream)
                return stream
        raise failure

    async def close(self) -> None:
        for stream in self._opened:
            await stream.aclose()


async def _read(response: httpcore.Response) -> tuple[int, float | None]:
    read = 0
    async for chunk in response.aiter_stream():
        read += len(chunk)
        if read > ANSWER_BYTES:
            break
    named = {key.lower(): value for key, value in response.headers}
    wanted = named.get(b"retry-after", b"").decode("latin-1")
    return response.status, seconds_of(wanted, datetime.now(UTC)) if wanted else None


class Resolver:
    """Looks each name up once at a time, however many wait: a name server that does not answer
    shall not hold all threads for look-ups.
    """

    def __init__(self) -> None:
        self._under_way: dict[tuple[str, int], asyncio.Task[list[str]]] = {}

    async def addresses(self, host: str, port: int) -> list[str]:
        key = host, port
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.create_task(_look_up(host, port))
            task.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(task)

    def _forget(self, key: tuple[str, int], done: asyncio.Task[list[str]]) -> None:
        self._under_way.pop(key, None)
        if not done.cancelled():
            done.exception()  # else asyncio complains where everybody has stopped waiting


async def _look_up(host: str, port: int) -> list[str]:
    rows = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(row[4][0]) for row in rows))


def _broken(error: httpcore.NetworkError) -> tuple[str, str]:
    """Why there was no answer, in words of our own."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "tls", f"its certificate is not valid: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return "tls", "TLS could not be agreed on"
        if isinstance(cause, ConnectionRefusedError):
            return "refused", "the connection was refused"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpcore.ConnectError):
        return "unreachable", "the connection could not be made"
    return "broken", "the connection broke off"


def _ms_since(began_s: float) -> int:
    return round((monotonic() - began_s) * 1000)
