"""Where the notifier is put together."""

import os

from services.notifier.deliveries import Deliveries
from services.notifier.handlers import Notices
from services.notifier.settings import Settings
from services.notifier.webhook import Caller
from shared.bus.bus import Bus
from shared.bus.notifications import NOTIFIER
from shared.events.base import Event
from shared.events.inference import (
    InferenceCancelled,
    InferenceCompleted,
    InferenceFailed,
    InferenceRejected,
)
from shared.events.notifications import (
    NotificationDelivered,
    NotificationFailed,
    NotificationQueued,
    NotificationRedeliveryRequested,
    NotificationTestRequested,
)
from shared.events.operations import AlertRaised, AlertResolved, DeadLetter
from shared.service import Service

TOLD: tuple[type[Event], ...] = (
    InferenceCompleted,
    InferenceFailed,
    InferenceCancelled,
    InferenceRejected,
    DeadLetter,
)
CONSUMES: tuple[type[Event], ...] = (
    *TOLD,
    NotificationQueued,
    NotificationTestRequested,
    NotificationRedeliveryRequested,
)
PUBLISHES: tuple[type[Event], ...] = (
    NotificationQueued,
    NotificationDelivered,
    NotificationFailed,
    AlertRaised,
    AlertResolved,
)


def create_app(settings: Settings, caller: Caller | None = None) -> Service:
    bus = Bus(NOTIFIER, settings, consumes=CONSUMES, publishes=PUBLISHES)
    deliveries = Deliveries(bus, caller or Caller(), os.environ)
    notices = Notices(bus, deliveries)
    for event in TOLD:
        bus.on(event, notices.on_event)
    bus.on(NotificationTestRequested, notices.on_test_requested)
    bus.on(NotificationRedeliveryRequested, notices.on_redelivery_requested)
    bus.background(deliveries.run)
    return Service(NOTIFIER, settings, bus, on_stop=(deliveries.stop,))
