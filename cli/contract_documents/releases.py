"""Contracts as they were released, and what the working tree breaks of them."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from cli.contract_documents.compatibility import breaking_changes
from cli.contract_documents.schemas import Schema
from cli.errors import UserError

RELEASED = Path("shared/contracts/released")

_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")


@dataclass(frozen=True)
class Release:
    version: str
    schemas: dict[str, Schema]
    """By file name."""


def last_release(root: Path) -> Release | None:
    """The highest version under `root`, None before the first."""
    folders = [path for path in (root / RELEASED).glob("*") if _VERSION.fullmatch(path.name)]
    if not folders:
        return None
    folder = max(folders, key=lambda path: _order(path.name))
    schemas = {path.name: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    return Release(folder.name, schemas)


def broken_since(release: Release, current: dict[str, Schema]) -> list[str]:
    """What the current schemas, by file name, take from the readers and writers of a release."""
    found = [f"{name}: removed" for name in release.schemas if name not in current]
    for name in sorted(release.schemas.keys() & current.keys()):
        changes = breaking_changes(release.schemas[name], current[name])
        found += [f"{name}: {change}" for change in changes]
    return found


def freeze(root: Path, version: str, rendered: dict[str, str]) -> Path:
    """Keep the schemas as those of a release. Raises `UserError`."""
    if not _VERSION.fullmatch(version):
        raise UserError(f"{version!r} is not a version.", "Write it like 0.1.0")
    last = last_release(root)
    if last and _order(version) <= _order(last.version):
        raise UserError(
            f"{version} does not follow {last.version}, the last release.", "Name a higher version."
        )
    folder = root / RELEASED / version
    folder.mkdir(parents=True)
    for name, text in rendered.items():
        (folder / name).write_text(text)
    return folder


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))
