"""Where the vram-monitor is put together."""

from services.vram_monitor.handlers import Monitor
from services.vram_monitor.readings import Readings
from services.vram_monitor.samplers.best import BestSampler
from services.vram_monitor.samplers.host import HostSampler
from services.vram_monitor.samplers.nvidia_smi import NvidiaSmiSampler
from services.vram_monitor.samplers.nvml import NvmlSampler
from services.vram_monitor.settings import Settings
from shared.bus.bus import Bus
from shared.events.base import Event
from shared.events.gpu import GpuPressureChanged, GpuSampled
from shared.events.operations import AlertRaised, AlertResolved
from shared.service import Service

CONSUMES: tuple[type[Event], ...] = ()
PUBLISHES: tuple[type[Event], ...] = (GpuSampled, GpuPressureChanged, AlertRaised, AlertResolved)


def create_app(settings: Settings) -> Service:
    bus = Bus("vram-monitor", settings, consumes=CONSUMES, publishes=PUBLISHES)
    sampler = BestSampler([NvmlSampler(), NvidiaSmiSampler(), HostSampler()])
    monitor = Monitor(bus, sampler, Readings(settings.node))
    bus.background(monitor.run)
    return Service("vram-monitor", settings, bus, checks=monitor.checks)
