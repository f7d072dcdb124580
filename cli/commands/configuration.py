"""`check` and `apply`."""

import asyncio
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.address import configuration, environment
from cli.commands.options import Data, Json
from cli.errors import UserError
from shared.config import Config, ConfigError, lint, load_config, locate

File = Annotated[
    Path | None,
    typer.Argument(help="Default: roundhouse.yaml in the checkout, else the built-in defaults."),
]

BUILT_IN = "built-in defaults"


@dataclass(frozen=True)
class Finding:
    """`line` and `column` from 1. An `error` cannot work as written; a `warning` may."""

    level: str
    line: int
    column: int
    message: str


def check(file: File = None, as_json: Json = False) -> None:
    """Whether a configuration is well-formed and makes sense. Exit code 1 on errors.

    Example: ./roundhouse check roundhouse.yaml
    """
    path = configuration(file)
    name = _shown(path)
    _, findings = _read(path)
    if as_json:
        said = [asdict(finding) for finding in findings]
        typer.echo(json.dumps({"file": name, "ok": _works(findings), "findings": said}, indent=1))
    else:
        _show(name, findings)
    if not _works(findings):
        raise typer.Exit(1)


def apply(file: File = None, data: Data = None, as_json: Json = False) -> None:
    """Put a configuration in force; running services take it over within two seconds.

    One with errors is refused.

    Example: ./roundhouse apply roundhouse.yaml
    """
    path = configuration(file)
    config, findings = _read(path)
    if config is None or not _works(findings):
        _show(_shown(path), findings, err=True)
        raise UserError("Nothing was changed.", "Correct what is listed above.")
    version, changed = asyncio.run(_apply(data, config))
    if as_json:
        typer.echo(json.dumps({"version": version, "changed": changed}))
    elif changed:
        typer.echo(f"In force as version {version}.")
    else:
        typer.echo(f"Unchanged: it is in force already, as version {version}.")


def sound(path: Path | None) -> Config:
    """The configuration. Raise `UserError` for one that cannot work as written."""
    config, findings = _read(path)
    errors = [each for each in findings if each.level == "error"]
    if config is None or errors:
        listed = "\n".join(_line(_shown(path), each) for each in errors)
        raise UserError(f"The configuration cannot work as written.\n{listed}", "Correct it.")
    return config


def _read(path: Path | None) -> tuple[Config | None, list[Finding]]:
    """The configuration, and what is wrong with it; None where it cannot even be read."""
    try:
        config = load_config(path)
    except ConfigError as error:
        return None, [Finding("error", *each.place, each.message) for each in error.problems]
    text = path.read_text(encoding="utf-8") if path else ""
    return config, [
        Finding(each.level, *locate(text, each.where), each.message)
        for each in lint(config, environment())
    ] + _missing_files(config, text)


def _missing_files(config: Config, text: str) -> list[Finding]:
    """Paths of models that do not exist here; a node elsewhere may have them all the same."""
    return [
        Finding(
            "warning",
            *locate(text, ("models", name, "path")),
            f"{model.path} is no file on this machine; requests for {name} are refused unless "
            "a node has it",
        )
        for name, model in config.models.items()
        if model.path is not None and not _is_file(model.path)
    ]


def _is_file(path: str) -> bool:
    try:
        return Path(path).expanduser().is_file()
    except RuntimeError:  # the home of somebody who is unknown here
        return False


def _shown(path: Path | None) -> str:
    """A file's name may hold bytes that are no text."""
    return str(path).encode(errors="backslashreplace").decode() if path else BUILT_IN


def _works(findings: list[Finding]) -> bool:
    return all(finding.level != "error" for finding in findings)


def _show(name: str, findings: list[Finding], *, err: bool = False) -> None:
    for each in findings:
        typer.echo(_line(name, each), err=err)
    if not findings:
        typer.echo(f"{name}: ok", err=err)


def _line(name: str, finding: Finding) -> str:
    return f"{name}:{finding.line}:{finding.column}: {finding.level}: {finding.message}"


async def _apply(data: Path | None, config: Config) -> tuple[int, bool]:
    from cli.store import SOURCE, connected  # redis-py, which `check` can do without
    from shared.bus.configuration import store_configuration

    async with connected(data) as connection:
        client, keys = connection.client, connection.keys
        before: Any = await client.hget(keys.config, "version")
        version = await store_configuration(client, keys, config, SOURCE)
        return version, before is None or int(before) != version
