"""Questions to the audit trail."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from shared.events.base import Event, Name

Outcome = Literal["completed", "failed", "rejected", "cancelled"]

MAX_PAGE = 100


class AuditQueryRequested(Event):
    """Somebody wants to see requests in the audit trail: those of an id, or the latest that match.

    The answer goes to the reply stream that the attribute `replyto` names.
    """

    type: ClassVar[str] = "audit.query_requested.v1"
    subject_field: ClassVar[str] = "asked_by"

    asked_by: Name
    request_id: Annotated[
        str | None,
        Field(
            description="each use of this id, with attempts; then only `before` and `limit` count"
        ),
    ] = None
    since_ms: Annotated[int | None, Field(ge=0, description="ended since, in ms since 1970")] = None
    task: Name | None = None
    model: Annotated[Name | None, Field(description="asked for or chosen")] = None
    node: Name | None = None
    principal: Name | None = None
    outcome: Outcome | None = None
    before: Annotated[
        int | None, Field(description="of a further page: the `next` of the page before")
    ] = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 20


class AuditAnswered(Event):
    """A question to the audit trail was answered: who looks at the trail is known too."""

    type: ClassVar[str] = "audit.answered.v1"
    subject_field: ClassVar[str] = "query"

    query: Annotated[str, Field(description="id of the question")]
    asked_by: Name
    found: Annotated[int, Field(description="requests in the answer")]
