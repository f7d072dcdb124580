"""What each service declares that it consumes and publishes."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

from cli.errors import UserError
from shared.events.base import Event


@dataclass(frozen=True)
class ServiceContract:
    name: str
    consumes: tuple[type[Event], ...]
    publishes: tuple[type[Event], ...]


def service_contracts(root: Path) -> list[ServiceContract]:
    """All services under `root` that have an app.py, by name. Raises `UserError`."""
    folders = sorted(path.parent.name for path in root.glob("services/*/app.py"))
    return [_declared(folder) for folder in folders]


def _declared(folder: str) -> ServiceContract:
    app = import_module(f"services.{folder}.app")
    return ServiceContract(
        name=folder.replace("_", "-"),
        consumes=_events(app, "CONSUMES"),
        publishes=_events(app, "PUBLISHES"),
    )


def _events(app: ModuleType, constant: str) -> tuple[type[Event], ...]:
    try:
        declared = vars(app)[constant]
    except KeyError:
        raise UserError(
            f"{app.__name__} has no {constant}.",
            f"Add `{constant}: tuple[type[Event], ...] = (...)`.",
        ) from None
    return tuple(sorted(declared, key=lambda event: event.type))
