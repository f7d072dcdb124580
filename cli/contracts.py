"""`contracts`: generate what the bus carries, check it, freeze it for a release."""

import json
from pathlib import Path
from typing import Annotated

import typer

from cli.address import ROOT
from cli.commands.options import Json
from cli.contract_documents.releases import broken_since, freeze, last_release
from cli.contract_documents.tree import Generated, as_text, generate, stale, write

_BREAKING_ADVICE = (
    "Readers and writers of that release would notice. Restore it, or add a new class on `.v2`."
)


def contracts(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; fail if files are stale.")
    ] = False,
    release: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Freeze the schemas as released.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Generate JSON Schemas, AsyncAPI documents and the catalogue of events from the code.

    Example: ./roundhouse contracts --check
    """
    generated = generate(ROOT)
    touched = stale(ROOT, generated.files) if check or release else write(ROOT, generated.files)
    broken = _broken(generated)
    if release and not touched and not broken:
        _release(release, generated)
    _report(touched, broken, as_json=as_json, written=not (check or release))


def _broken(generated: Generated) -> list[str]:
    last = last_release(ROOT)
    return broken_since(last, generated.schemas) if last else []


def _release(version: str, generated: Generated) -> None:
    frozen = {name: as_text(schema) for name, schema in generated.schemas.items()}
    folder = freeze(ROOT, version, frozen)
    typer.echo(f"Frozen in {folder.relative_to(ROOT)}; commit it.", err=True)


def _report(touched: list[Path], broken: list[str], *, as_json: bool, written: bool) -> None:
    if as_json:
        state = "written" if written else "stale"
        typer.echo(json.dumps({state: [str(path) for path in touched], "breaking": broken}))
    else:
        _print(touched, broken, written=written)
    if broken or (touched and not written):
        raise typer.Exit(1)


def _print(touched: list[Path], broken: list[str], *, written: bool) -> None:
    for path in touched:
        typer.echo(f"{'written' if written else 'stale'}: {path}")
    for change in broken:
        typer.echo(f"breaking: {change}")
    if broken:
        typer.echo(_BREAKING_ADVICE, err=True)
    if touched and not written:
        typer.echo("Run `./roundhouse contracts` and commit what it writes.", err=True)
    if not touched and not broken:
        typer.echo("The contracts are current.")
