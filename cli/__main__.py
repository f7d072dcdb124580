"""`python -m cli`, which the launcher `./roundhouse` runs."""

import sys

from cli.interrupt import ending_at_once

with ending_at_once():
    from cli.app import main

main(sys.argv[1:])
