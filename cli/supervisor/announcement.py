"""What `up --json` says once all is ready, or where it runs already."""

from typing import Any

from cli.supervisor import ports
from cli.supervisor.folder import DataFolder, ProcessState, RunState
from cli.supervisor.probes import without_password
from cli.supervisor.process import State


def announcement(
    folder: DataFolder, state: RunState | None, took_s: float | None
) -> dict[str, Any]:
    """`took_s` is how long it took to start; None of what another `up` had started before, whose
    `state` is not known when that has only just begun.

    No URL has its password; `credentials` names the file, its owner's alone, that has them whole.
    """
    return {
        "started": took_s is not None,
        "ready": state is not None and _is_ready(state),
        "took_s": None if took_s is None else round(took_s, 2),
        "data": str(folder.root),
        "logs": str(folder.logs),
        "credentials": str(folder.state_file),
        **(_places(state) if state else {}),
    }


def _is_ready(state: RunState) -> bool:
    return all(process.state == State.READY for process in state.processes)


def _places(state: RunState) -> dict[str, Any]:
    url = ports.url(state.http_host, state.http_port)
    return {
        "url": url,
        "openai_url": f"{url}/v1",
        "store": without_password(state.redis_url),
        "processes": [
            {"name": "supervisor", "state": State.READY, "pid": state.pid, "address": None},
            *(_external(name, state) for name in state.external),
            *(_process(process, state) for process in state.processes),
        ],
    }


def _external(name: str, state: RunState) -> dict[str, Any]:
    address = without_password(state.urls[name])
    return {"name": name, "state": "external", "pid": None, "address": address}


def _process(process: ProcessState, state: RunState) -> dict[str, Any]:
    return {
        "name": process.name,
        "state": process.state,
        "pid": process.pid,
        "address": _address(process, state),
    }


def _address(process: ProcessState, state: RunState) -> str:
    if process.store:
        return without_password(state.urls[process.name])
    edge = process.port == state.http_port
    return ports.url(state.http_host if edge else ports.LOOPBACK, process.port)
