"""`up`."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.address import configuration, data_folder, environment
from cli.commands.options import Data, Json
from cli.supervisor.become import Task, become_supervisor
from cli.supervisor.configuring import read
from cli.supervisor.detach import DETACHED, start_in_background
from cli.supervisor.plan import Wishes
from cli.supervisor.services import SERVICES, Services
from cli.supervisor.terminal import Terminal


def up(
    context: typer.Context,
    detach: Annotated[
        bool, typer.Option("--detach", help="Return once everything is ready.")
    ] = False,
    compact: Annotated[
        bool, typer.Option("--compact", help="All services in one process, for small machines.")
    ] = False,
    port: Annotated[int, typer.Option(help="Of HTTP; 0 for any free one.")] = 8080,
    host: Annotated[str, typer.Option(help="Address on which HTTP listens.")] = "127.0.0.1",
    data: Data = None,
    config: Annotated[
        Path | None,
        typer.Option(help="Default: roundhouse.yaml in the checkout.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Start the stores and the services, and keep them running until Ctrl-C.

    No store is started whose URL is set (REDIS_URL, DATABASE_URL, or stores in the configuration).
    With --json, one document once all is ready: what runs where; the rest goes to standard error.

    Example: ./roundhouse up --detach --port 9000
    """
    detached = os.environ.pop(DETACHED, None) is not None
    if detach and not detached:
        raise typer.Exit(start_in_background(Terminal(as_json=as_json)))
    file = configuration(config)
    loaded = asyncio.run(read(file)) if file else {}
    wishes = Wishes(
        data=data or data_folder(),
        host=host,
        port=port,
        compact=compact,
        config=file,
        environment=with_stores(environment(), loaded),
        left_out=_left_out(loaded),
    )
    services = context.obj if isinstance(context.obj, Services) else SERVICES
    become_supervisor(Task(wishes, services, detached, as_json))


def with_stores(given: Mapping[str, str], config: Mapping[str, Any]) -> dict[str, str]:
    """The environment, and where it names no store, the one of the configuration."""
    stores = config.get("stores", {})
    named = {"REDIS_URL": stores.get("redis"), "DATABASE_URL": stores.get("postgres")}
    return {
        **given,
        **{variable: url for variable, url in named.items() if url and not given.get(variable)},
    }


def _left_out(config: Mapping[str, Any]) -> frozenset[str]:
    is_off = config.get("audit", {}).get("mode") == "off"
    return frozenset({"audit-logger"}) if is_off else frozenset()
