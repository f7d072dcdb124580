"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        envvar="ROUNDHOUSE_HOME",
        help="Folder with the stores' files and the logs. Default: .roundhouse in the checkout.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Answer with JSON.")]
