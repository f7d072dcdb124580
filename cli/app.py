"""The `roundhouse` command."""

import ast
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Annotated, Any

import typer

from cli.address import ROOT
from cli.errors import UserError, show
from cli.interrupt import ending_at_once
from cli.output import OWN_ERRORS, not_written, prepare

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
    "notify": "cli.commands.notify:notify",
    "check": "cli.commands.configuration:check",
    "apply": "cli.commands.configuration:apply",
    "demo": "cli.commands.demo:demo",
    "run": "cli.commands.run:run",
    "queue": "cli.commands.queue:queue",
    "requests": "cli.commands.requests:requests",
    "contracts": "cli.contracts:contracts",
}
"""By name: a function, or a `typer.Typer` with commands of its own.

Only the one that was asked for is imported. A group's module has its help in `HELP`.
"""


def main(
    arguments: Sequence[str], commands: Mapping[str, str] = COMMANDS, given: Any = None
) -> None:
    """Run one command and exit. `given` reaches it as the context's `obj`."""
    prepare()
    with ending_at_once():
        application = _application(arguments, commands)
    try:
        application(arguments, prog_name="roundhouse", obj=given)
    except UserError as error:
        show(error)
        sys.exit(1)
    except OSError as error:
        if error.errno not in OWN_ERRORS:
            raise
        show(not_written(error))
        sys.exit(1)


def _application(arguments: Sequence[str], commands: Mapping[str, str]) -> typer.Typer:
    application = typer.Typer(
        callback=_roundhouse,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # rich takes longer to import than all that help has to say
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    asked = [word for word in arguments if word in commands][:1]
    for name in asked:
        module, _, attribute = commands[name].partition(":")
        command = getattr(import_module(module), attribute)
        if isinstance(command, typer.Typer):
            application.add_typer(command, name=name)
        else:
            application.command(name)(command)
    for name, place in () if asked else commands.items():
        application.command(name, short_help=_summary(place))(_only_listed)
    return application


def _summary(place: str) -> str:
    """The first line of a command's help, read without importing it."""
    module, _, attribute = place.partition(":")
    source = (ROOT / module.replace(".", "/")).with_suffix(".py").read_text()
    for node in ast.parse(source).body:
        match node:
            case ast.FunctionDef(name=name) if name == attribute:
                return (ast.get_docstring(node) or "").partition("\n")[0]
            case ast.Assign(targets=[ast.Name(id="HELP")], value=ast.Constant(value=str(text))):
                return text.partition("\n")[0]
    raise ValueError(f"{place} has neither a docstring nor a HELP")


def _only_listed() -> None:
    """A command that was not asked for."""


def _version(asked: bool) -> None:
    if asked:
        import tomllib

        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        typer.echo(f"roundhouse {project['version']}")
        raise typer.Exit


def _roundhouse(
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it and exit.")
    ] = False,
) -> None:
    """The control plane for self-hosted AI inference."""
