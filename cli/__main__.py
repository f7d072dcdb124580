"""`python -m cli`, which the launcher `./roundhouse` runs."""

import sys

from cli.app import main

main(sys.argv[1:])
