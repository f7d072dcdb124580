"""The Postgres that `roundhouse up` runs for the audit trail: as root or not, kept, and gone."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import psutil
import psycopg
import pytest

from tests.fakes.checkout import COMMAND, ROOT, Checkout
from tests.waiting import until

NOBODY = 65534
ENDED_WITHIN_S = 5.0
RECORDING = {"FAKE_AUDIT_LOGGER": ""}
"""With a stand-in for the audit-logger, the one program that is told of the database."""


pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """Up, with a database below a folder that only its owner may enter."""
    closed = tmp_path_factory.mktemp("closed")
    closed.chmod(0o700)
    checkout = Checkout(closed / "data", environment=RECORDING)
    result = checkout.up("--detach")
    assert result.returncode == 0, result.stdout
    yield checkout
    checkout.clean_up()


@pytest.fixture
def nobodys() -> Iterator[Path]:
    """A folder of an ordinary user's."""
    folder = Path(mkdtemp(prefix="roundhouse-"))
    os.chown(folder, NOBODY, NOBODY)
    yield folder
    rmtree(folder)


def database_of(checkout: Checkout) -> psutil.Process:
    return psutil.Process(checkout.pid("postgres"))


def family(checkout: Checkout) -> list[psutil.Process]:
    """The server and its children, which clear what they inherited of the environment."""
    server = database_of(checkout)
    return [server, *server.children(recursive=True)]


def living(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [
        each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE
    ]


def test_it_runs_below_a_closed_folder_and_never_as_root(recording: Checkout) -> None:
    url = recording.state().urls["postgres"]
    with psycopg.connect(url) as connection:
        [superuser] = connection.execute("SELECT usesuper FROM pg_user WHERE usename = user") or []

    assert superuser == (False,)
    assert all(0 not in process.uids() for process in family(recording))
    data = recording.data / "postgres" / "data"
    assert data.stat().st_mode & 0o077 == 0
    assert data.stat().st_uid == database_of(recording).uids().real


def test_only_the_audit_logger_knows_its_password(recording: Checkout) -> None:
    url = recording.state().urls["postgres"]
    password = url.split(":")[2].partition("@")[0]

    told = {
        process.pid
        for process in recording.processes()
        if password in str(process.environ()) or password in str(process.cmdline())
    }

    assert told == {recording.pid("audit-logger")}
    for private in ("postgres/password", "state.json"):
        assert (recording.data / private).stat().st_mode & 0o077 == 0, private


def test_a_database_elsewhere_is_used_and_none_is_started(
    checkout: Checkout, recording: Checkout
) -> None:
    elsewhere = recording.state().urls["postgres"]
    checkout.environment = {**RECORDING, "DATABASE_URL": elsewhere}

    result = checkout.up("--detach")

    assert result.returncode == 0, result.stdout
    assert not (checkout.data / "postgres").exists()
    assert not checkout.has_started("postgres")
    environment = psutil.Process(checkout.pid("audit-logger")).environ()
    assert environment["DATABASE_URL"] == elsewhere
    assert "DATABASE_URL" not in psutil.Process(checkout.pid("router")).environ()


def test_without_a_trail_there_is_neither_database_nor_logger(
    checkout: Checkout, tmp_path: Path
) -> None:
    config = tmp_path / "roundhouse.yaml"
    config.write_text('audit: {mode: "off"}\n')
    checkout.environment = RECORDING

    result = checkout.up("--detach", "--config", str(config))

    assert result.returncode == 0, result.stdout
    assert not (checkout.data / "postgres").exists()
    assert {process.name for process in checkout.state().processes} == {
        *("valkey", "router", "gateway")
    }


async def test_rows_outlive_that_everything_is_killed_and_no_process_outlives_the_end(
    checkout: Checkout,
) -> None:
    checkout.environment = RECORDING
    process = checkout.start()
    await until(checkout.is_up, 60)
    url = checkout.state().urls["postgres"]
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    for victim in [*checkout.guards(), checkout.supervisor(), *family(checkout)]:
        victim.kill()
    process.wait()

    result = checkout.up("--detach")

    assert result.returncode == 0, result.stdout
    assert checkout.state().urls["postgres"] == url
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchall() == [(42,)]
    ours = family(checkout)
    os.kill(checkout.supervisor().pid, signal.SIGTERM)
    await until(lambda: not living(ours), ENDED_WITHIN_S)


async def test_it_ends_with_a_supervisor_that_is_killed(checkout: Checkout) -> None:
    checkout.environment = RECORDING
    checkout.start()
    await until(checkout.is_up, 60)
    ours = family(checkout)

    checkout.supervisor().kill()

    await until(lambda: not living(ours), ENDED_WITHIN_S)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_for_an_ordinary_user_it_runs_as_that_user(nobodys: Path) -> None:
    """Whoever runs the tests as an ordinary user sees that above."""
    become = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--")
    kept = {**os.environ, **RECORDING, "PYTHONPATH": str(ROOT), "HOME": str(nobodys)}
    needed = ("cat", Path(sys.executable).resolve(), ROOT / "pyproject.toml")
    if subprocess.run([*become, *needed], env=kept, capture_output=True).returncode:
        pytest.skip("nobody may not read this checkout and its Python")
    checkout = Checkout(nobodys / "data")
    arguments = ("up", "--detach", "--port", str(checkout.port), "--data", str(checkout.data))

    try:
        result = subprocess.run(
            [*become, *COMMAND, *arguments], env=kept, capture_output=True, text=True, timeout=90
        )

        assert result.returncode == 0, result.stdout + result.stderr
        assert {process.uids().real for process in family(checkout)} == {NOBODY}
        assert checkout.run("down").returncode == 0
    finally:
        checkout.clean_up()
