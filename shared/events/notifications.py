"""Telling receivers outside of what happened: webhooks, and what became of each."""

from typing import Annotated, Any, ClassVar

from pydantic import Field, StringConstraints

from shared.events.base import Event, Name

NotificationId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$")]
"""The `webhook-id` that a receiver sees, the same in every attempt and redelivery."""


class NotificationQueued(Event):
    """An endpoint is to be told of an event."""

    type: ClassVar[str] = "notification.queued.v1"
    subject_field: ClassVar[str] = "notification_id"
    partition: ClassVar[str | None] = "endpoint"

    notification_id: NotificationId
    event: Annotated[str, Field(description="what it tells of, such as `inference.completed`")]
    time: Annotated[str, Field(description="when that happened, in UTC")]
    data: Annotated[dict[str, Any], Field(description="the `data` that the receiver gets")]
    dataclass: Annotated[Name, Field(description="how sensitive that is")] = "internal"


class NotificationDelivered(Event):
    """An endpoint took a notification."""

    type: ClassVar[str] = "notification.delivered.v1"
    subject_field: ClassVar[str] = "notification_id"

    notification_id: NotificationId
    endpoint: Name
    event: str
    status: int
    attempts: int
    duration_ms: Annotated[int, Field(description="of the last attempt")]


class NotificationFailed(Event):
    """A notification is given up; it is kept as a dead letter."""

    type: ClassVar[str] = "notification.failed.v1"
    subject_field: ClassVar[str] = "notification_id"

    notification_id: NotificationId
    endpoint: Name
    event: str
    reason: Annotated[str, Field(description="of the last attempt: `status`, `timed_out`, ...")]
    message: str
    status: int | None = None
    attempts: int


class NotificationTestRequested(Event):
    """Somebody wants to know whether an endpoint can be reached.

    The answer goes to the reply stream that the attribute `replyto` names.
    """

    type: ClassVar[str] = "notification.test_requested.v1"
    subject_field: ClassVar[str] = "endpoint"

    endpoint: Name


class NotificationRedeliveryRequested(Event):
    """Somebody wants an endpoint to be told again.

    The answer goes to the reply stream that the attribute `replyto` names.
    """

    type: ClassVar[str] = "notification.redelivery_requested.v1"
    subject_field: ClassVar[str] = "endpoint"

    endpoint: Name
    failed: Annotated[bool, Field(description="its dead letters")] = False
    since_ms: (
        Annotated[int, Field(description="what was queued since, delivered or not")] | None
    ) = None
    notification_id: NotificationId | None = None
