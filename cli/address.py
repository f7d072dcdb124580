"""Where what the command line talks to is."""

import os
from collections.abc import Mapping
from pathlib import Path

from cli.errors import UserError
from cli.supervisor.folder import DataFolder, RunState
from cli.supervisor.ports import url

ROOT = Path(__file__).resolve().parents[1]
DEFAULT_DATA = ROOT / ".roundhouse"
DEFAULT_CONFIG = ROOT / "roundhouse.yaml"


def environment() -> Mapping[str, str]:
    """The shell's environment, and below it what .env in the checkout says."""
    file = ROOT / ".env"
    if not file.exists():
        return dict(os.environ)
    from dotenv import dotenv_values

    written = {key: value for key, value in dotenv_values(file).items() if value}
    return {**written, **os.environ}


def data_folder() -> Path:
    """Where `up` keeps its data unless --data says otherwise."""
    return Path(os.environ.get("ROUNDHOUSE_HOME") or DEFAULT_DATA)


def configuration(named: Path | None) -> Path | None:
    """The file that was named; else roundhouse.yaml in the checkout; else none."""
    if named is not None:
        return named.absolute()
    return DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None


def redis_url(data: Path | None = None) -> str:
    """Of the store: REDIS_URL, else the one that `up` runs. Raise `UserError` without either."""
    return environment().get("REDIS_URL") or _running(data).redis_url


def http_url(data: Path | None = None) -> str:
    """Of the gateway: ROUNDHOUSE_URL, else the one that `up` runs. Raise `UserError`."""
    given = environment().get("ROUNDHOUSE_URL")
    if given:
        return given.rstrip("/")
    state = _running(data)
    return url(state.http_host, state.http_port)


def _running(data: Path | None) -> RunState:
    folder = DataFolder(data or data_folder())
    state = folder.running()
    if state is None:
        raise UserError(
            f"Nothing runs from {folder.root}.",
            "Start it with ./roundhouse up, or say where it runs: REDIS_URL for the store, "
            "ROUNDHOUSE_URL for the gateway.",
        )
    return state
