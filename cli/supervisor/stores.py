"""The stores that services need: embedded unless a URL says where they are."""

import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from cli.errors import UserError
from cli.supervisor import postgres, valkey
from cli.supervisor.probes import database_lacks, store_lacks


@dataclass(frozen=True)
class Store:
    """`url_variable` set in the environment: it exists elsewhere, and nothing is started for it.

    `set_up(folder, port)` prepares the embedded one and returns its command and its URL;
    `explain(folder, words)` says what the end of its log means. `serves` names the one service
    that needs it and is told its URL; without, all do.
    """

    name: str
    url_variable: str
    set_up: Callable[[Path, int], tuple[tuple[str, ...], str]]
    lacks: Callable[[str], Awaitable[str | None]]
    explain: Callable[[Path, str], UserError | None]
    stop_signal: signal.Signals = signal.SIGTERM
    serves: str | None = None


STORES = (
    Store(
        name="valkey",
        url_variable="REDIS_URL",
        set_up=valkey.set_up,
        lacks=store_lacks,
        explain=valkey.explain,
    ),
    Store(
        name="postgres",
        url_variable="DATABASE_URL",
        set_up=postgres.set_up,
        lacks=database_lacks,
        explain=postgres.explain,
        stop_signal=signal.SIGINT,  # SIGTERM waits for the clients
        serves="audit-logger",
    ),
)
