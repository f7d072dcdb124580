"""What the command line tells a person who can put something right."""

import sys

RED, PLAIN = "\033[31m", "\033[0m"


class UserError(Exception):
    """`what` says what is wrong and where, `remedy` what to do about it."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}\n  {remedy}")
        self.what = what
        self.remedy = remedy


def show(error: UserError) -> None:
    """Say it on the error output."""
    said = f"Error: {error}"
    sys.stderr.write(f"{RED}{said}{PLAIN}\n" if sys.stderr.isatty() else f"{said}\n")
