"""Where the model-manager is put together."""

from services.model_manager.handlers import Residency
from services.model_manager.settings import Settings
from shared.bus.bus import Bus
from shared.events.gpu import GpuSampled
from shared.events.models import (
    ModelActionRequested,
    ModelDemandChanged,
    ModelDemandRefused,
    ModelLoadRequested,
    ModelStateChanged,
    ModelUnloadRequested,
    NodeHeartbeat,
    NodeLost,
)
from shared.service import Service

CONSUMES = (
    NodeHeartbeat,
    GpuSampled,
    ModelDemandChanged,
    ModelStateChanged,
    ModelActionRequested,
    NodeLost,
)
PUBLISHES = (ModelDemandRefused, ModelLoadRequested, ModelUnloadRequested)


def create_app(settings: Settings) -> Service:
    bus = Bus("model-manager", settings, consumes=CONSUMES, publishes=PUBLISHES)
    residency = Residency(bus, bus.lease("model-manager"))
    bus.background(residency.run)
    return Service("model-manager", settings, bus, role=residency.role)
