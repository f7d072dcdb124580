"""Whether what `up` runs can do its work."""

import asyncio
import json
import os
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from cli.supervisor.resp import RefusedError, ask

PROBE_S = 2.0
OLDEST_MAJOR = 7
POSTGRES_PORT = 5432
POSTGRES_PROTOCOL = 3 << 16
NOT_YET = {b"C57P03", b"C53300"}
"""cannot_connect_now, too_many_connections; another error comes from one that works."""

ROLE = "postgres"
INFO = re.compile(r"^(\w+):(.*?)\r?$", re.MULTILINE)
LOCKED = re.compile("WRONGPASS|NOAUTH|NOPERM|ERR .*AUTH")
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
    try:
        async with asyncio.timeout(PROBE_S):
            told = await ask(url, "INFO")
    except TimeoutError:
        return f"it has not answered for {PROBE_S:g} s"
    except RefusedError as error:
        return "it refuses the password" if LOCKED.match(str(error)) else str(error)
    except OSError as error:
        return _reason(error)
    info = dict(INFO.findall(str(told, "utf-8", "replace") if isinstance(told, bytes) else ""))
    if "redis_version" not in info:
        return "what answers is no store"
    if int(info.get("loading", 0)):
        return _loading(info)
    return StoreFacts(
        version=info["redis_version"],
        append_only=info["aof_enabled"] == "1",
        eviction=info["maxmemory_policy"],
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


def _reason(error: OSError) -> str:
    """asyncio puts the address into `strerror`; resolvers have negative numbers and own words."""
    known = error.errno is not None and error.errno > 0
    return os.strerror(error.errno) if known and error.errno else error.strerror or str(error)


def _loading(info: Mapping[str, str]) -> str:
    """Large files take minutes; that the share grows tells loading from hanging."""
    share = float(info.get("loading_loaded_perc", 0))
    return f"it is still reading its files ({share:.0f} %)"


async def has_key(url: str, key: str) -> bool | None:
    """Whether the store at `url` has it; None where the store does not say."""
    try:
        async with asyncio.timeout(PROBE_S):
            return await ask(url, "EXISTS", key) == 1
    except (RefusedError, OSError, TimeoutError):
        return None


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
        said = json.loads(body)
        services = said.get("services", {"": said}).values()
        checks = [check for service in services for check in service["checks"].items()]
    except (ValueError, KeyError, TypeError, AttributeError):
        checks = []
    failed = [f"{name} ({why})" for name, why in checks if why != "ok"]
    return ", ".join(failed) or "it does not say why"
