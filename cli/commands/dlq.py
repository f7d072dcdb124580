"""`dlq`: entries that nobody could handle."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.columns import columns, visible
from cli.commands.options import Data, Json
from cli.errors import UserError
from cli.store import connected
from shared.bus.dead_letters import DeadLetters, Letter, NoSuchLetterError

HELP = """Dead letters: entries that nobody could handle, kept with their reason.

Example: ./roundhouse dlq list
"""

dlq = typer.Typer(no_args_is_help=True, help=HELP)

Which = Annotated[str, typer.Argument(metavar="ID", help="Of the letter, as `dlq list` shows it.")]

ENTRY_ID = re.compile(r"\d{1,20}-\d{1,20}")


@dlq.command("list")
def list_letters(data: Data = None, as_json: Json = False) -> None:
    """All dead letters, oldest first.

    Example: ./roundhouse dlq list --json
    """
    letters = asyncio.run(_all(data))
    if as_json:
        typer.echo(json.dumps([_document(letter) for letter in letters], indent=1))
    elif not letters:
        typer.echo("There are no dead letters.")
    else:
        typer.echo(columns(("id", "stream", "group", "deliveries", "reason"), _rows(letters)))


@dlq.command()
def show(letter: Which, data: Data = None, as_json: Json = False) -> None:
    """One dead letter with the original entry's fields.

    Example: ./roundhouse dlq show 1700000000000-0
    """
    found = asyncio.run(_one(data, letter))
    if as_json:
        typer.echo(json.dumps(_document(found), indent=1))
        return
    said = found.letter
    typer.echo(visible(f"reason: {said.reason}"))
    typer.echo(f"stream: {said.origin}, entry {said.entry}")
    typer.echo(f"group:  {said.group}, after {said.deliveries} deliveries\n")
    for name, value in _document(found)["original"].items():
        typer.echo(visible(f"{name}: {value}"))


@dlq.command()
def replay(letter: Which, data: Data = None, as_json: Json = False) -> None:
    """Put the entry back on its stream, for all groups, and drop the letter.

    Example: ./roundhouse dlq replay 1700000000000-0
    """
    stream, entry = asyncio.run(_replay(data, letter))
    document = {"letter": letter, "stream": stream, "entry": entry}
    typer.echo(json.dumps(document) if as_json else f"Back on {stream} as {entry}.")


@dlq.command()
def drop(letter: Which, data: Data = None, as_json: Json = False) -> None:
    """Forget the letter.

    Example: ./roundhouse dlq drop 1700000000000-0
    """
    asyncio.run(_drop(data, letter))
    typer.echo(json.dumps({"letter": letter, "dropped": True}) if as_json else f"Dropped {letter}.")


async def _all(data: Path | None) -> list[Letter]:
    async with connected(data) as connection:
        return [each async for each in DeadLetters(connection.client, connection.keys).all()]


async def _one(data: Path | None, letter: str) -> Letter:
    async with _letters(data, letter) as letters:
        return await letters.one(letter)


async def _replay(data: Path | None, letter: str) -> tuple[str, str]:
    async with _letters(data, letter) as letters:
        found = await letters.one(letter)
        if not found.original:
            raise UserError(
                f"Letter {letter} has no fields: its entry was gone before it was buried.",
                f"There is nothing to replay; forget it with ./roundhouse dlq drop {letter}",
            )
        return found.letter.origin, await letters.replay(letter)


async def _drop(data: Path | None, letter: str) -> None:
    async with _letters(data, letter) as letters:
        await letters.drop(letter)


@asynccontextmanager
async def _letters(data: Path | None, letter: str) -> AsyncIterator[DeadLetters]:
    if not ENTRY_ID.fullmatch(letter):
        raise UserError(
            f"{letter!r} is not the id of a dead letter.",
            "Ids look like 1700000000000-0; see ./roundhouse dlq list",
        )
    async with connected(data) as connection:
        try:
            yield DeadLetters(connection.client, connection.keys)
        except NoSuchLetterError as error:
            raise UserError(
                f"There is no dead letter {letter}.", "See ./roundhouse dlq list"
            ) from error


def _rows(letters: list[Letter]) -> list[tuple[str, ...]]:
    return [
        (
            letter.id,
            letter.letter.origin,
            letter.letter.group,
            str(letter.letter.deliveries),
            letter.letter.reason,
        )
        for letter in letters
    ]


def _document(letter: Letter) -> dict[str, Any]:
    original = {
        name.decode(errors="replace"): value.decode(errors="replace")
        for name, value in letter.original.items()
    }
    return {"id": letter.id, **letter.letter.model_dump(), "original": original}
