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

    A store whose URL is set (REDIS_URL, or stores.redis in the configuration) is used where it
    is, and none is started for it.

    Example: ./roundhouse up --detach --port 9000
    """
    terminal = Terminal()
    detached = os.environ.pop(DETACHED, None) is not None
    if detach and not detached:
        raise typer.Exit(start_in_background(terminal))
    file = configuration(config)
    wishes = Wishes(
        data=data or data_folder(),
        host=host,
        port=port,
        compact=compact,
        config=file,
        environment={**_stores(load_config(file)), **environment()},
    )
    services = context.obj if isinstance(context.obj, Services) else SERVICES
    log = DataFolder(wishes.data).log("supervisor")
    ready = partial(terminal.leave_for, log) if detached else terminal.stay
    asyncio.run(run(wishes, services, terminal, ready))


def _stores(config: Config) -> dict[str, str]:
    """Stores that the configuration names, as the environment would; an empty variable is none."""
    return {"REDIS_URL": config.stores.redis} if config.stores.redis else {}
