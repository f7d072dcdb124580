"""The catalogue: every event that may appear on the bus, one class per contract."""

from shared.events import audit, gpu, inference, models, notifications, operations
from shared.events.base import Event

EVENTS: dict[str, type[Event]] = {
    value.type: value
    for module in (inference, models, gpu, audit, notifications, operations)
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, Event) and value is not Event
}
