"""The `roundhouse` command."""

import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Annotated, Any

import typer

from cli.address import ROOT
from cli.errors import UserError
from shared.config import ConfigError

COMMANDS = {
    "up": "cli.commands.up:up",
    "down": "cli.commands.down:down",
    "status": "cli.commands.status:status",
    "logs": "cli.commands.logs:logs",
    "doctor": "cli.commands.doctor:doctor",
    "ask": "cli.commands.ask:ask",
    "publish": "cli.commands.publish:publish",
    "models": "cli.commands.models:models",
    "why": "cli.commands.why:why",
    "audit": "cli.commands.audit:audit",
    "dlq": "cli.commands.dlq:dlq",
    "check": "cli.commands.configuration:check",
    "apply": "cli.commands.configuration:apply",
    "demo": "cli.commands.demo:demo",
    "contracts": "cli.contracts:contracts",
}
"""By name: a function, or a `typer.Typer` with commands of its own.

Only the one that was asked for is imported, which keeps `up` small for as long as it runs.
"""


def main(
    arguments: Sequence[str], commands: Mapping[str, str] = COMMANDS, given: Any = None
) -> None:
    """Run one command and exit. `given` reaches it as the context's `obj`."""
    try:
        _application(arguments, commands)(arguments, prog_name="roundhouse", obj=given)
    except (UserError, ConfigError) as error:
        typer.secho(f"Error: {error}", err=True, fg=typer.colors.RED)
        sys.exit(1)


def _application(arguments: Sequence[str], commands: Mapping[str, str]) -> typer.Typer:
    application = typer.Typer(
        callback=_roundhouse,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    for name in _wanted(arguments[0] if arguments else "", commands):
        module, _, attribute = commands[name].partition(":")
        command = getattr(import_module(module), attribute)
        if isinstance(command, typer.Typer):
            application.add_typer(command, name=name)
        else:
            application.command(name)(command)
    return application


def _wanted(asked: str, commands: Mapping[str, str]) -> Iterable[str]:
    if asked == "--version":
        return ()
    return (asked,) if asked in commands else commands


def _version(asked: bool) -> None:
    if asked:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        typer.echo(f"roundhouse {project['version']}")
        raise typer.Exit


def _roundhouse(
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it and exit.")
    ] = False,
) -> None:
    """The control plane for self-hosted AI inference."""
