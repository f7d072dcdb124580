"""The names of all keys. One prefix for all of them, so that a cell's scripts share a slot."""

from dataclasses import dataclass
from functools import cache

from shared.events.base import Event, Priority
from shared.events.inference import (
    InferenceAttemptFailed,
    InferenceCancelled,
    InferenceCompleted,
    InferenceFailed,
    InferenceRejected,
    InferenceRouted,
    InferenceStarted,
)


@dataclass(frozen=True, slots=True)
class Keys:
    prefix: str = "rh:"

    def stream(self, event: type[Event], part: str | None = None) -> str:
        """The stream of a contract; `part` is the node, the endpoint, or a request's producer."""
        return self.stream_of(event.type, part)

    def stream_of(self, event_type: str, part: str | None = None) -> str:
        return f"{self.prefix}{event_type}" + (f":{part}" if part else "")

    def request(self, request_id: str) -> str:
        return f"{self.prefix}request:{request_id}"

    def body(self, request_id: str) -> str:
        return f"{self.prefix}body:{request_id}"

    def context(self, request_id: str) -> str:
        return f"{self.prefix}context:{request_id}"

    def chain(self, request_id: str) -> str:
        return f"{self.prefix}chain:{request_id}"

    def result(self, request_id: str) -> str:
        return f"{self.prefix}result:{request_id}"

    def waiters(self, request_id: str) -> str:
        return f"{self.prefix}waiters:{request_id}"

    def waiting(self, priority: Priority) -> str:
        return f"{self.prefix}waiting:{priority}"

    def reply(self, name: str) -> str:
        return f"{self.prefix}reply:{name}"

    def blob(self, name: str) -> str:
        return f"{self.prefix}blob:{name}"

    def published(self, event_id: str) -> str:
        return f"{self.prefix}published:{event_id}"

    def node(self, name: str) -> str:
        return f"{self.prefix}node:{name}"

    def lease(self, name: str) -> str:
        return f"{self.prefix}lease:{name}"

    def fence(self, name: str) -> str:
        return f"{self.prefix}fence:{name}"

    def deliveries(self, endpoint: str) -> str:
        return f"{self.prefix}deliveries:{endpoint}"

    def tries(self, endpoint: str) -> str:
        return f"{self.prefix}tries:{endpoint}"

    def endpoint(self, name: str) -> str:
        return f"{self.prefix}endpoint:{name}"

    @property
    def former_endpoints(self) -> str:
        return f"{self.prefix}former_endpoints"

    @property
    def endpoints(self) -> str:
        """There as long as the configuration in force has some."""
        return f"{self.prefix}endpoints"

    @property
    def flight(self) -> str:
        return f"{self.prefix}flight"

    @property
    def config(self) -> str:
        return f"{self.prefix}config"

    @property
    def absent(self) -> str:
        """Stands in a script's list of keys where a request has no such key."""
        return f"{self.prefix}absent"

    def record(self, request_id: str) -> dict[str, str]:
        """The keys of one request, and the streams that tell of it, as the scripts name them."""
        return {
            **_streams_of_requests(self.prefix),
            "request": self.request(request_id),
            "body": self.body(request_id),
            "context": self.context(request_id),
            "chain": self.chain(request_id),
            "result": self.result(request_id),
            "waiters": self.waiters(request_id),
            "flight": self.flight,
        }


@cache
def _streams_of_requests(prefix: str) -> dict[str, str]:
    streams: dict[str, type[Event]] = {
        "routed": InferenceRouted,
        "started": InferenceStarted,
        "attempt_failed": InferenceAttemptFailed,
        "completed": InferenceCompleted,
        "failed": InferenceFailed,
        "rejected": InferenceRejected,
        "cancelled": InferenceCancelled,
    }
    return {name: prefix + event.type for name, event in streams.items()}
