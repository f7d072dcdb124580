"""`up`."""

import asyncio
import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from cli.address import configuration, data_folder, environment
from cli.commands.options import Data
from cli.supervisor.detach import DETACHED, start_in_background
from cli.supervisor.folder import DataFolder
from cli.supervisor.plan import Wishes
from cli.supervisor.services import SERVICES, Services
from cli.supervisor.terminal import Terminal
from cli.supervisor.up import up as run
from shared.config import Config, load_config


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
) -> None:
    """Start the stores and the services, and keep them running until Ctrl-C.

    No store is started whose URL is set (REDIS_URL, DATABASE_URL, or stores in the configuration).

    Example: ./roundhouse up --detach --port 9000
    """
    terminal = Terminal()
    detached = os.environ.pop(DETACHED, None) is not None
    if detach and not detached:
        raise typer.Exit(start_in_background(terminal))
    loaded = load_config(file := configuration(config))
    wishes = Wishes(
        data=data or data_folder(),
        host=host,
        port=port,
        compact=compact,
        config=file,
        environment={**_stores(loaded), **environment()},
        left_out=_left_out(loaded),
    )
    services = context.obj if isinstance(context.obj, Services) else SERVICES
    log = DataFolder(wishes.data).log("supervisor")
    ready = partial(terminal.leave_for, log) if detached else terminal.stay
    asyncio.run(run(wishes, services, terminal, ready))


def _stores(config: Config) -> dict[str, str]:
    """Stores that the configuration names, as the environment would; an empty variable is none."""
    named = {"REDIS_URL": config.stores.redis, "DATABASE_URL": config.stores.postgres}
    return {variable: url for variable, url in named.items() if url}


def _left_out(config: Config) -> frozenset[str]:
    return frozenset({"audit-logger"}) if config.audit.mode == "off" else frozenset()
