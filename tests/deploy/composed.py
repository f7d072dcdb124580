"""The compose files as docker compose understands them."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.house.sources import ROOT

Json = dict[str, Any]

FOLDER = ROOT / "compose"
MAIN = FOLDER / "compose.yaml"
OVERLAYS = sorted(set(FOLDER.glob("compose.*.yaml")))
EXAMPLE = FOLDER / ".env.example"

FILLED_IN = {"VALKEY_PASSWORD": "0123abcd", "POSTGRES_PASSWORD": "4567cdef"}
"""What has to be filled in there."""

SERVICE_FOLDERS = {path.parent.name for path in ROOT.glob("services/*/__init__.py")}

VARIABLE = re.compile(r"\$\$|\$\{(?P<name>\w+)(?::(?P<how>[-?])(?P<rest>[^}]*))?\}")


def interpolated(value: Any, environment: Mapping[str, str]) -> Any:
    """With `${NAME:-default}`, `${NAME:?message}` and `$$` replaced, wherever they stand."""
    match value:
        case str():
            return VARIABLE.sub(lambda found: _replacement(found, environment), value)
        case list():
            return [interpolated(each, environment) for each in value]
        case dict():
            return {name: interpolated(each, environment) for name, each in value.items()}
        case _:
            return value


def _replacement(found: re.Match[str], environment: Mapping[str, str]) -> str:
    name, how, rest = found["name"], found["how"], found["rest"]
    if name is None:
        return "$"
    if given := environment.get(name):
        return given
    if how == "-":
        return str(rest)
    raise KeyError(f"{name}: {rest}")


@cache
def document(path: Path = MAIN) -> Json:
    """As it is written, anchors merged."""
    read: Json = yaml.safe_load(path.read_text())
    return read


def services(path: Path = MAIN) -> Json:
    named: Json = document(path)["services"]
    return named


def ours() -> Json:
    """The services that are processes of this repository, by name."""
    return {name: each for name, each in services().items() if module(each)}


def here() -> Json:
    """Those of them whose folders are here."""
    return {
        name: each for name, each in ours().items() if name.replace("-", "_") in SERVICE_FOLDERS
    }


def module(service: Json) -> str | None:
    """`services.router` where that is what the service runs."""
    command = service.get("command", [])
    first = str(command[0]) if isinstance(command, list) and command else ""
    return first if first.startswith("services.") else None


def variables(path: Path = MAIN) -> Iterator[re.Match[str]]:
    """Every variable that a compose file takes from its environment."""
    text = re.sub(r"(?m)^\s*#.*$", "", path.read_text())
    return (found for found in VARIABLE.finditer(text) if found["name"])


def as_a_stack() -> Json:
    """What Swarm knows of it: no conditions between services, and no profiles."""
    stack = {name: document()[name] for name in ("networks", "volumes")}
    stack["services"] = {
        name: {**service, "depends_on": list(service.get("depends_on", {}))}
        for name, service in services().items()
        if "profiles" not in service
    }
    return stack
