"""Whether what `up` runs can do its work."""

import asyncio
import json
import re
import struct
from dataclasses import dataclass
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError

PROBE_S = 2.0
OLDEST_MAJOR = 7
POSTGRES_PORT = 5432
POSTGRES_PROTOCOL = 3 << 16
NOT_YET = {b"C57P03", b"C53300"}
"""cannot_connect_now, too_many_connections; another error comes from one that works."""

ROLE = "postgres"
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")


@dataclass(frozen=True)
class StoreFacts:
    """What a store says of itself; `eviction` is what it does when its memory is full."""

    version: str
    append_only: bool
    eviction: str

    @property
    def major(self) -> int:
        return int(self.version.split(".")[0])


async def service_lacks(host: str, port: int) -> str | None:
    """What a service is waiting for, in words; None once `GET /ready` answers 200."""
    try:
        status, body = await _get(host, port, "/ready")
    except (OSError, TimeoutError):
        return "it does not answer"
    return None if status == 200 else f"not ready: {_failed_checks(body)}"


async def status_of(host: str, port: int, path: str) -> int | None:
    """The HTTP status of `path` there; 0 for what is not HTTP, None for nothing at all."""
    try:
        return (await _get(host, port, path))[0]
    except (OSError, TimeoutError):
        return None


async def store_lacks(url: str) -> str | None:
    """Why the store at `url` cannot be used yet; None once it answers and is new enough."""
    facts = await store_facts(url)
    if isinstance(facts, str):
        return facts
    if facts.major < OLDEST_MAJOR:
        return f"it is Redis {facts.version}, and {OLDEST_MAJOR}.0 is the oldest that will do"
    return None


async def store_facts(url: str) -> StoreFacts | str:
    """What the store at `url` says of itself, or why it says nothing."""
    client = Redis.from_url(
        url, socket_connect_timeout=PROBE_S, socket_timeout=PROBE_S, retry=Retry(NoBackoff(), 0)
    )
    try:
        info = await client.info()
    except AuthenticationError:
        return "it refuses the password"
    except (RedisError, OSError) as error:
        return str(error)
    finally:
        await client.aclose()
    if int(info.get("loading", 0)):
        return "it is still reading its files"
    return StoreFacts(
        version=str(info["redis_version"]),
        append_only=bool(info["aof_enabled"]),
        eviction=str(info["maxmemory_policy"]),
    )


async def database_lacks(url: str) -> str | None:
    """Why the Postgres at `url` takes no connections yet; whether it takes ours is not tried.

    As pg_isready does: a first message, and a look at the kind of the answer.
    """
    parts = urlsplit(url)
    fields = f"user\0{parts.username or ROLE}\0database\0{parts.path[1:] or ROLE}\0\0".encode()
    hello = struct.pack("!ii", len(fields) + 8, POSTGRES_PROTOCOL) + fields
    try:
        async with asyncio.timeout(PROBE_S):
            reader, writer = await asyncio.open_connection(
                parts.hostname or "127.0.0.1", parts.port or POSTGRES_PORT
            )
            try:
                writer.write(hello)
                kind = await reader.readexactly(1)
                said = await reader.readexactly(4) if kind == b"E" else b""
                words = await reader.readexactly(struct.unpack("!i", said)[0] - 4) if said else b""
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return "it does not answer"
    if kind == b"E" and NOT_YET & set(words.split(b"\0")):
        return "it is starting up, shutting down or full"
    return None if kind in b"ER" else "what answers is no Postgres"


def without_password(url: str) -> str:
    """For showing: what stands between the scheme and the host is left out."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


async def _get(host: str, port: int, path: str) -> tuple[int, bytes]:
    """Status (0: not HTTP) and body. HTTP/1.0, so that the answer ends with the connection."""
    async with asyncio.timeout(PROBE_S):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(f"GET {path} HTTP/1.0\r\nHost: {host}:{port}\r\n\r\n".encode())
            answer = await reader.read()
        finally:
            writer.close()
    status = STATUS.match(answer)
    return int(status[1]) if status else 0, answer.partition(b"\r\n\r\n")[2]


def _failed_checks(body: bytes) -> str:
    try:
        checks = json.loads(body)["checks"]
        failed = [name for name, passed in checks.items() if not passed]
    except (ValueError, KeyError, TypeError, AttributeError):
        failed = []
    return ", ".join(failed) or "it does not say why"
