"""One question to a store, without redis-py: that would be 28 MB in a process that runs for weeks.

An address means here what it means to redis-py, which the services use.
"""

import asyncio
import ssl
from collections.abc import Sequence
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

Reply = bytes | int | None

DEFAULT_PORT = 6379
NO_ADDRESS = "this is no address; write it like redis://127.0.0.1:6379/0 or unix:///path/to/socket"


class RefusedError(Exception):
    """The store answered with an error."""


async def ask(url: str, *words: str) -> Reply:
    """Send one command. Raise `RefusedError`, or `OSError` where nobody answers to the end."""
    reader, writer = await _connect(urlsplit(url))
    try:
        replies = [await _exchange(reader, writer, said) for said in (*_login(url), words)]
    except EOFError as error:
        raise ConnectionError("it broke the connection off") from error
    except (ValueError, asyncio.LimitOverrunError) as error:
        raise ConnectionError("what answers is no store") from error
    finally:
        writer.close()
    return replies[-1]


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, words: Sequence[str]
) -> Reply:
    encoded = [word.encode() for word in words]
    writer.write(b"*%d\r\n" % len(encoded) + b"".join(map(_bulk, encoded)))
    await writer.drain()
    line = (await reader.readuntil(b"\r\n"))[:-2]
    kind, rest = line[:1], line[1:]
    match kind:
        case b"-":
            raise RefusedError(rest.decode(errors="replace"))
        case b":":
            return int(rest)
        case b"$" if int(rest) < 0:
            return None
        case b"$":
            return (await reader.readexactly(int(rest) + 2))[:-2]
        case b"+":
            return rest
    raise ValueError(line)


def _bulk(word: bytes) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(word), word)


def _login(url: str) -> list[tuple[str, ...]]:
    """What has to be said before the question."""
    parts = urlsplit(url)
    said: list[tuple[str, ...]] = []
    if parts.username or parts.password:
        said.append(("AUTH", unquote(parts.username or "default"), unquote(parts.password or "")))
    path = "" if parts.scheme == "unix" else parts.path.strip("/")
    database = _options(parts).get("db", path) or "0"
    if database != "0":
        said.append(("SELECT", database))
    return said


async def _connect(parts: SplitResult) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if parts.scheme == "unix":
        return await asyncio.open_unix_connection(unquote(parts.path))
    try:
        host, port = unquote(parts.hostname or "localhost"), parts.port or DEFAULT_PORT
    except ValueError as error:
        raise ConnectionError(NO_ADDRESS) from error
    if parts.scheme not in ("redis", "rediss"):
        raise ConnectionError(NO_ADDRESS)
    secure = _context(_options(parts)) if parts.scheme == "rediss" else None
    return await asyncio.open_connection(host, port, ssl=secure)


def _context(options: dict[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
    if options.get("ssl_check_hostname", "").lower() in ("false", "no", "0"):
        context.check_hostname = False
    if options.get("ssl_cert_reqs") == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if "ssl_certfile" in options:
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    return context


def _options(parts: SplitResult) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(parts.query).items()}
