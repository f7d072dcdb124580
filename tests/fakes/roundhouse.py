"""The real command with stand-in services: `python -m tests.fakes.roundhouse up`.

FAKE_ROUTER and FAKE_GATEWAY in the environment name their conduct, see `tests.fakes.service`.
"""

import os
import sys

from cli.app import main
from cli.supervisor.services import Service, Services


def stand_in(name: str, *, edge: bool = False) -> Service:
    conduct = os.environ.get(f"FAKE_{name.upper()}", "")
    command = (sys.executable, "-P", "-m", "tests.fakes.service", conduct)
    return Service(name, command, edge=edge)


STAND_INS = Services(
    stages=((stand_in("router"),), (stand_in("gateway", edge=True),)),
    compact=stand_in("services", edge=True),
)

if __name__ == "__main__":
    main(sys.argv[1:], given=STAND_INS)
