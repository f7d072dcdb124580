"""The real command with stand-in services: `python -m tests.fakes.roundhouse up`.

FAKE_ROUTER and FAKE_GATEWAY in the environment name their conduct, see `tests.fakes.service`.
FAKE_AUDIT_LOGGER does so too, and without it there is none, and no Postgres.
"""

import os
import sys

from cli.app import main
from cli.supervisor.services import Service, Services

TRAIL = "FAKE_AUDIT_LOGGER"


def stand_in(name: str, *, edge: bool = False, needed: bool = True, section: str = "") -> Service:
    conduct = os.environ.get(f"FAKE_{name.upper().replace('-', '_')}", "")
    command = (sys.executable, "-P", "-m", "tests.fakes.service", conduct)
    return Service(name, command, edge=edge, needed=needed, section=section)


def trail() -> tuple[Service, ...]:
    return (stand_in("audit-logger", needed=False),) if TRAIL in os.environ else ()


STAND_INS = Services(
    stages=(
        (stand_in("router"), stand_in("notifier", needed=False, section="endpoints"), *trail()),
        (stand_in("gateway", edge=True),),
    ),
    compact=stand_in("services", edge=True),
)

if __name__ == "__main__":
    main(sys.argv[1:], given=STAND_INS)
