"""`doctor`."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cli.address import configuration, data_folder, environment
from cli.commands.options import Data, Json
from cli.doctor import machine, surroundings
from cli.doctor.finding import Finding, Level, ok
from cli.supervisor.folder import DataFolder

COLOURS = {
    Level.OK: typer.colors.GREEN,
    Level.WARN: typer.colors.YELLOW,
    Level.FAIL: typer.colors.RED,
}


def doctor(
    data: Data = None,
    port: Annotated[int, typer.Option(help="On which HTTP shall listen.")] = 8080,
    host: Annotated[str, typer.Option(help="Address on which HTTP shall listen.")] = "127.0.0.1",
    config: Annotated[Path | None, typer.Option(show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """Check this machine, the stores, the engines and the configuration. Exit code 1 on a fail.

    Example: ./roundhouse doctor
    """
    folder = DataFolder(data or data_folder())
    findings = [
        machine.check_python(),
        machine.check_packages(),
        machine.check_disk(folder.root),
        machine.check_memory(),
        machine.check_gpu(),
        *asyncio.run(_surroundings(folder, (host, port), configuration(config), environment())),
    ]
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        _show(findings)
    if any(finding.level is Level.FAIL for finding in findings):
        raise typer.Exit(1)


async def _surroundings(
    folder: DataFolder,
    listen: tuple[str, int],
    config_file: Path | None,
    given: Mapping[str, str],
) -> list[Finding]:
    running = folder.running()
    if running is None:
        http = machine.check_port(*listen)
    else:
        listen = running.http_host, running.http_port
        http = ok("port", f"{listen[1]} on {listen[0]} is served by the running Roundhouse")
    url = given.get("REDIS_URL") or (running.redis_url if running else None)
    config, of_config = surroundings.check_config(config_file)
    database_url = given.get("DATABASE_URL") or config.stores.postgres
    if not database_url and running:
        database_url = running.urls.get("postgres")
    node = given.get("ROUNDHOUSE_NODE", "local")
    return [
        http,
        *await surroundings.check_store(url),
        await surroundings.check_trail(config, database_url or None),
        *await surroundings.check_engines(config, node, listen[1]),
        *of_config,
    ]


def _show(findings: list[Finding]) -> None:
    for finding in findings:
        typer.secho(f"{finding.level:<5}", fg=COLOURS[finding.level], nl=False)
        typer.echo(f"{finding.subject:<9} {finding.what}")
        if finding.remedy:
            typer.echo(f"{'':<15}{finding.remedy}")
