"""Which ports are free, and who has the others."""

import contextlib
import errno
import random
import socket
from collections.abc import Iterable, Mapping

from cli.errors import UserError

LOOPBACK = "127.0.0.1"

STEADY = range(15_000, 30_000)
"""Below those that systems give to outgoing connections: one of these, once it has the port of a
process that is being started again, keeps it for as long as it lasts."""

TRIES = 100

EVERYWHERE = {"0.0.0.0": LOOPBACK, "::": "::1", "": LOOPBACK}  # noqa: S104


def reachable(host: str) -> str:
    """The address at which this machine itself reaches what listens on `host`."""
    return EVERYWHERE.get(host, host)


def url(host: str, port: int) -> str:
    host = reachable(host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def choose(names: Iterable[str], previous: Mapping[str, int]) -> dict[str, int]:
    """A free loopback port for each name, the one that it had before where that is still free."""
    with contextlib.ExitStack() as taken:
        chosen = {}
        for name in names:
            held = _bound(LOOPBACK, previous.get(name, 0) or _any()) or _steady()
            if held is None:
                raise UserError(
                    "No loopback port is free.", "End programs that hold many connections."
                )
            chosen[name] = taken.enter_context(held).getsockname()[1]
        return chosen


def _any() -> int:
    return random.choice(STEADY)  # noqa: S311


def _steady() -> socket.socket | None:
    tries = (_bound(LOOPBACK, _any()) for _ in range(TRIES))
    return next((held for held in tries if held is not None), None) or _bound(LOOPBACK, 0)


def check(host: str, port: int) -> int:
    """`port`, or any free one for 0. Raise `UserError` if it cannot be listened on."""
    try:
        with _listener(host, port) as held:
            return int(held.getsockname()[1])
    except OSError as error:
        raise _refused(host, port, error) from error


def _refused(host: str, port: int, error: OSError) -> UserError:
    match error.errno:
        case errno.EADDRINUSE:
            who = holder(port)
            return UserError(
                f"Port {port} on {host} is in use{f' by {who}' if who else ''}.",
                f"Stop that program, or choose another port: ./roundhouse up --port {port + 1}",
            )
        case errno.EACCES | errno.EPERM:
            return UserError(
                f"This user may not listen on port {port}.",
                "Choose a port above 1023: ./roundhouse up --port 8080",
            )
        case _:
            return UserError(
                f"Cannot listen on {host}: {error.strerror}.",
                "Name an address of this machine with --host; 127.0.0.1 always works.",
            )


def holder(port: int) -> str | None:
    """Name and process id of the program that listens on `port`, where this user may know."""
    import psutil

    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN
            if listens and connection.pid and connection.laddr and connection.laddr[1] == port:
                name = psutil.Process(connection.pid).name()
                return f"{name} (process {connection.pid})"
    return None


def _bound(host: str, port: int) -> socket.socket | None:
    try:
        return _listener(host, port)
    except OSError:
        return None


def _listener(host: str, port: int) -> socket.socket:
    family, kind, _, _, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    held = socket.socket(family, kind)
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(address)
        held.listen(1)
    except OSError:
        held.close()
        raise
    return held
