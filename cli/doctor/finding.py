"""What doctor says about one thing."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """`remedy` is empty where there is nothing to do."""

    level: Level
    subject: str
    what: str
    remedy: str = ""


def ok(subject: str, what: str) -> Finding:
    return Finding(Level.OK, subject, what)


def warn(subject: str, what: str, remedy: str) -> Finding:
    return Finding(Level.WARN, subject, what, remedy)


def fail(subject: str, what: str, remedy: str) -> Finding:
    return Finding(Level.FAIL, subject, what, remedy)
