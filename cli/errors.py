"""What the command line tells a person who can put something right."""


class UserError(Exception):
    """`what` says what is wrong and where, `remedy` what to do about it."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}\n  {remedy}")
        self.what = what
        self.remedy = remedy
