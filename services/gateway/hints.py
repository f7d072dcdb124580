"""What a caller may say about how a request shall be treated, in the body or in headers."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from services.gateway.parsing import checked
from shared.events.base import Name, Priority

MAX_DEADLINE_S = 7 * 86_400.0

HEADERS: Mapping[str, str] = {
    "task": "X-Roundhouse-Task",
    "priority": "X-Roundhouse-Priority",
    "deadline_s": "X-Roundhouse-Deadline-S",
    "dataclass": "X-Roundhouse-Dataclass",
}

_HEADERS = {header.lower().encode(): field for field, header in HEADERS.items()}


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


class Hints(BaseModel):
    """Hints for the router. Unknown keys are refused, so that a misspelt one is noticed."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, strict=False)

    task: Name | None = None
    priority: Annotated[Priority, BeforeValidator(_upper)] | None = None
    deadline_s: Annotated[float, Field(gt=0, le=MAX_DEADLINE_S, allow_inf_nan=False)] | None = None
    dataclass: Name | None = None


NO_HINTS = Hints()


def hints_in_headers(headers: Mapping[bytes, bytes]) -> Hints:
    """What the headers say. Raises `ApiError`."""
    said = {field: headers[name] for name, field in _HEADERS.items() if name in headers}
    if not said:
        return NO_HINTS
    texts = {field: value.decode("latin-1").strip() for field, value in said.items()}
    return checked(Hints, texts, names=HEADERS)


def merged(weaker: Hints | None, stronger: Hints) -> Hints:
    """The hints of both; where both speak, the stronger wins."""
    if weaker is None or stronger is NO_HINTS:
        return weaker or stronger
    return weaker.model_copy(update=stronger.model_dump(exclude_none=True))
