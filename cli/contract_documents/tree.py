"""The generated files as a whole: rendered, compared with the disk, written."""

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.contract_documents.asyncapi import asyncapi_document, document_name
from cli.contract_documents.catalogue import catalogue
from cli.contract_documents.envelope import ENVELOPE_NAME, envelope_schema
from cli.contract_documents.schemas import Schema, event_schema, schema_name
from cli.contract_documents.services import ServiceContract, service_contracts
from shared.events import EVENTS

CONTRACTS = Path("shared/contracts")
CATALOGUE = Path("docs/reference/events.md")


@dataclass(frozen=True)
class Generated:
    schemas: dict[str, Schema]
    """By file name: one per event, and the envelope's."""
    files: dict[Path, str]
    """Every generated file, relative to the root of the repository, with its text."""


def generate(root: Path) -> Generated:
    """Everything that follows from the code. Raises `UserError`."""
    services = service_contracts(root)
    schemas = {schema_name(name): event_schema(event) for name, event in EVENTS.items()}
    schemas[ENVELOPE_NAME] = envelope_schema()
    documents = schemas | _asyncapi_documents(services, _version(root))
    files = {CONTRACTS / name: as_text(document) for name, document in documents.items()}
    return Generated(schemas, files | {CATALOGUE: catalogue(EVENTS, services)})


def stale(root: Path, files: dict[Path, str]) -> list[Path]:
    """Files that are missing, differ from what is generated, or are generated no longer."""
    differing = [path for path, text in files.items() if _read(root / path) != text]
    return sorted(differing + _left_over(root, files))


def write(root: Path, files: dict[Path, str]) -> list[Path]:
    """Bring the disk up to date; return what changed."""
    changed = stale(root, files)
    for path in changed:
        if path in files:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(files[path])
        else:
            (root / path).unlink()
    return changed


def as_text(document: dict[str, Any]) -> str:
    """JSON as it is committed, byte for byte the same wherever it is generated."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _asyncapi_documents(services: list[ServiceContract], version: str) -> dict[str, Schema]:
    return {
        document_name(service.name): asyncapi_document(service, version) for service in services
    }


def _version(root: Path) -> str:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    return str(project["version"])


def _read(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def _left_over(root: Path, files: dict[Path, str]) -> list[Path]:
    present = (path.relative_to(root) for path in (root / CONTRACTS).glob("*.json"))
    return [path for path in present if path not in files]
