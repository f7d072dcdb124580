"""Where the router is put together."""

from services.router.handlers import Router
from services.router.settings import Settings
from shared.bus.bus import Bus
from shared.events.inference import (
    InferenceAttemptFailed,
    InferenceCancelled,
    InferenceCancelRequested,
    InferenceCompleted,
    InferenceDispatched,
    InferenceFailed,
    InferenceRejected,
    InferenceRequested,
    InferenceRouted,
    InferenceStopRequested,
)
from shared.events.models import (
    ModelDemandChanged,
    ModelDemandRefused,
    NodeHeartbeat,
    NodeLost,
    NodeReturned,
)
from shared.events.operations import AlertRaised, AlertResolved
from shared.service import Service

CONSUMES = (
    InferenceRequested,
    InferenceCancelRequested,
    InferenceCompleted,
    InferenceAttemptFailed,
    NodeHeartbeat,
    ModelDemandRefused,
)
PUBLISHES = (
    InferenceRouted,
    InferenceDispatched,
    InferenceStopRequested,
    InferenceAttemptFailed,
    InferenceFailed,
    InferenceRejected,
    InferenceCancelled,
    ModelDemandChanged,
    NodeLost,
    NodeReturned,
    AlertRaised,
    AlertResolved,
)


def create_app(settings: Settings) -> Service:
    bus = Bus("router", settings, consumes=CONSUMES, publishes=PUBLISHES)
    router = Router(bus, bus.lease("router"))
    bus.background(router.run)
    return Service("router", settings, bus, role=router.role)
