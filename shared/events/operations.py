"""Events about the running system itself."""

from typing import ClassVar

from shared.events.base import Event


class ConfigChanged(Event):
    """A new configuration is in force."""

    type: ClassVar[str] = "config.changed.v1"
    subject_field: ClassVar[str] = "version"

    version: int
    digest: str


class DeadLetter(Event):
    """An entry that nobody could handle. The original fields travel beside it, prefixed `x-`."""

    type: ClassVar[str] = "dead_letter.v1"
    subject_field: ClassVar[str] = "entry"

    origin: str
    entry: str
    group: str
    reason: str
    deliveries: int


class AlertRaised(Event):
    """Something needs a person."""

    type: ClassVar[str] = "alert.raised.v1"
    subject_field: ClassVar[str] = "alert"

    alert: str
    summary: str


class AlertResolved(Event):
    """What an alert was raised for is over."""

    type: ClassVar[str] = "alert.resolved.v1"
    subject_field: ClassVar[str] = "alert"

    alert: str
    summary: str
