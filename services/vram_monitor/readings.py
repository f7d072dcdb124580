"""What a reading means to others: the sample, changes of pressure, devices lost and back. Pure."""

from collections.abc import Sequence

from services.vram_monitor.pressure import Pressure, pressure
from shared.events.base import Event
from shared.events.gpu import Device, GpuPressureChanged, GpuSampled
from shared.events.operations import AlertRaised, AlertResolved


class Readings:
    """Remembers of each device what the next reading is compared with."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._pressures: dict[str, Pressure] = {}
        self._gpus: dict[str, str] = {}
        self._lost: set[str] = set()

    def on_reading(self, sampler: str, devices: Sequence[Device]) -> tuple[GpuSampled, list[Event]]:
        """The sample, and what changed with it.

        A node whose GPUs fell silent has no devices, rather than its host's memory: what is
        loaded there still counts on GPUs.
        """
        if self._gpus:
            devices = [device for device in devices if device.kind == "gpu"]
        sample = GpuSampled(node=self._node, sampler=sampler, devices=tuple(devices))
        return sample, [*self._pressure_changes(devices), *self._losses(devices)]

    def _pressure_changes(self, devices: Sequence[Device]) -> list[Event]:
        changes: list[Event] = []
        for device in devices:
            before = self._pressures.get(device.uuid, "normal")
            now = pressure(before, device.used_mib, device.total_mib)
            self._pressures[device.uuid] = now
            if now != before:
                changes.append(
                    GpuPressureChanged(
                        node=self._node,
                        uuid=device.uuid,
                        pressure=now,
                        used_mib=device.used_mib,
                        total_mib=device.total_mib,
                    )
                )
        return changes

    def _losses(self, devices: Sequence[Device]) -> list[Event]:
        present = {device.uuid: device.name for device in devices if device.kind == "gpu"}
        lost = {*self._gpus} - {*present} - self._lost
        returned = self._lost & {*present}
        self._gpus |= present
        self._lost = (self._lost | lost) - returned
        return [self._alert(AlertRaised, uuid) for uuid in sorted(lost)] + [
            self._alert(AlertResolved, uuid) for uuid in sorted(returned)
        ]

    def _alert(self, kind: type[AlertRaised] | type[AlertResolved], uuid: str) -> Event:
        is_lost = kind is AlertRaised
        said = "no longer answers; see the driver's log, then reset it" if is_lost else "is back"
        return kind(
            alert=f"gpu_lost:{self._node}:{uuid}",
            summary=f"{self._gpus[uuid]} ({uuid}) on node {self._node} {said}",
        )
