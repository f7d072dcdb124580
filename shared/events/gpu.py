"""Readings of the devices that hold models."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from shared.events.base import Event, Name, Value


class DeviceProcess(Value):
    pid: int
    used_mib: int


class Device(Value):
    """One GPU, or the host's memory where there is none."""

    index: int
    uuid: str
    name: str
    kind: Literal["gpu", "host"]
    total_mib: int
    used_mib: int
    utilization_percent: Annotated[float, Field(ge=0, le=100)] | None = None
    power_w: float | None = None
    energy_j: Annotated[float, Field(description="counter since the driver was loaded")] | None = (
        None
    )
    temperature_c: float | None = None
    processes: tuple[DeviceProcess, ...] = ()


class GpuSampled(Event):
    """All devices of a node at one moment."""

    type: ClassVar[str] = "gpu.sampled.v1"
    subject_field: ClassVar[str] = "node"
    sampled: ClassVar[bool] = True

    node: Name
    sampler: str
    devices: tuple[Device, ...]


class GpuPressureChanged(Event):
    """A device's memory crossed a bound (with hysteresis), upwards or downwards."""

    type: ClassVar[str] = "gpu.pressure_changed.v1"
    subject_field: ClassVar[str] = "node"

    node: Name
    uuid: str
    pressure: Literal["normal", "high", "critical"]
    used_mib: int
    total_mib: int
