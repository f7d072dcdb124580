"""`python -m cli.supervisor`, which `up` turns into."""

import sys

from cli.interrupt import ending_at_once

with ending_at_once():
    from cli.supervisor.become import received
    from cli.supervisor.run import run

run(received(int(sys.argv[1])))
