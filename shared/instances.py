"""Names of processes: `<host>-<pid>-<place><chance>`, short enough for a record's small values."""

import os
import re
import secrets
import socket
from functools import cache
from hashlib import sha256
from pathlib import Path

import psutil

MAX_LENGTH = 33
"""An executor token is this, an entry's id and eight digits more, and stays below 64 bytes."""

HOST_LENGTH = 12
PLACE_LENGTH = 6
FORM = re.compile(r"(?P<host>.+)-(?P<pid>\d+)-(?P<place>[0-9a-f]{6})(?P<chance>[0-9a-f]{4})")


def new_instance() -> str:
    """For this process. The same host and pid may be another's in a container, or later."""
    return f"{_host()}-{os.getpid()}-{_place()}{secrets.token_hex(2)}"


def is_dead_here(instance: str) -> bool:
    """True where the instance was a process of this machine, or of this container, that is gone."""
    parts = FORM.fullmatch(instance)
    return (
        parts is not None
        and (parts["host"], parts["place"]) == (_host(), _place())
        and not psutil.pid_exists(int(parts["pid"]))
    )


def _host() -> str:
    name = re.sub(r"[^A-Za-z0-9]+", "-", socket.gethostname().partition(".")[0])
    return name[:HOST_LENGTH].strip("-") or "host"


@cache
def _place() -> str:
    """Where pids mean the same: one boot of one kernel, and there one namespace of pids."""
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    try:
        known = f"{boot.read_text()}{namespace.stat().st_ino}"
    except OSError:  # no Linux: no such namespaces either
        known = f"{socket.gethostname()}{int(psutil.boot_time())}"
    return sha256(known.encode()).hexdigest()[:PLACE_LENGTH]
