"""`python -m cli.supervisor.configure`: reads the configuration, or puts it in force, and ends.

It answers with one JSON document: what was asked for, or `what` is wrong and the `remedy`.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from cli.commands.configuration import sound
from cli.errors import UserError
from cli.supervisor.configuring import REFUSED
from shared.bus.configuration import apply_configuration, configuration_version
from shared.bus.keys import Keys
from shared.config import Config


def main(action: str, name: str) -> int:
    """`name` of the file; "" for the built-in configuration. Return the exit code."""
    file = Path(name) if name else None
    try:
        config = sound(file)
        answer = asyncio.run(_apply(file)) if action == "apply" else _document(config)
    except UserError as error:
        answer = {"what": error.what, "remedy": error.remedy}
    sys.stdout.write(json.dumps(answer))
    return REFUSED if "what" in answer else 0


def _document(config: Config) -> dict[str, Any]:
    return config.model_dump(mode="json")


async def _apply(file: Path | None) -> dict[str, Any]:
    """Without a file, what was applied by hand stays in force."""
    url, prefix = os.environ["REDIS_URL"], os.environ["ROUNDHOUSE_PREFIX"]
    if file is not None or await configuration_version(url, prefix) is None:
        await apply_configuration(url, file, prefix)
    return {"key": Keys(prefix).config}


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
