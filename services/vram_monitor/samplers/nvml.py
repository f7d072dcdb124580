"""NVIDIA's management library, through NVIDIA's own binding."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import Any

from services.vram_monitor.samplers.port import SamplerUnavailableError
from shared.events.gpu import Device, DeviceProcess

TIMEOUT_S = 5.0
MIB = 1 << 20


class NvmlSampler:
    """Keeps the library open between samples, except while a device fails."""

    name = "nvml"

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._nvml: Any = None
        self._last: Future[tuple[Device, ...]] | None = None

    async def sample(self) -> tuple[Device, ...]:
        if self._last is not None and not self._last.done():
            raise SamplerUnavailableError("an earlier call into the driver has not returned")
        self._last = _in_daemon_thread(self._read)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.wrap_future(self._last)
        except TimeoutError as error:
            raise SamplerUnavailableError(f"no answer within {self._timeout_s} s") from error

    def _read(self) -> tuple[Device, ...]:
        nvml = self._open()
        try:
            count = nvml.nvmlDeviceGetCount()
        except nvml.NVMLError as error:
            self._close(nvml)
            raise SamplerUnavailableError(str(error)) from error
        readings = [_device(nvml, index) for index in range(count)]
        devices = tuple(device for device in readings if device is not None)
        if len(devices) < count:
            # A GPU can only be reset, and a reset one only be seen, by those who let go of it.
            self._close(nvml)
        if not devices:
            raise SamplerUnavailableError(f"none of {count} GPUs tells how full its memory is")
        return devices

    def _open(self) -> Any:
        if self._nvml is not None:
            return self._nvml
        try:
            import pynvml
        except ImportError as error:
            raise SamplerUnavailableError("nvidia-ml-py is not installed") from error
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise SamplerUnavailableError(str(error)) from error
        self._nvml = pynvml
        return pynvml

    def _close(self, nvml: Any) -> None:
        self._nvml = None
        _optional(nvml, nvml.nvmlShutdown)


def _in_daemon_thread(
    read: Callable[[], tuple[Device, ...]],
) -> Future[tuple[Device, ...]]:
    """A wedged driver does not return; a daemon thread does not hold up the process's exit."""
    outcome: Future[tuple[Device, ...]] = Future()
    outcome.set_running_or_notify_cancel()

    def run() -> None:
        try:
            outcome.set_result(read())
        except BaseException as error:  # noqa: BLE001 - raised again where the outcome is awaited
            outcome.set_exception(error)

    Thread(target=run, name="nvml", daemon=True).start()
    return outcome


def _device(nvml: Any, index: int) -> Device | None:
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        # Version 1 of the call counts what the driver reserves as used, which nobody can have.
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        uuid, name = nvml.nvmlDeviceGetUUID(handle), nvml.nvmlDeviceGetName(handle)
    except nvml.NVMLError:
        return None
    utilization = _optional(nvml, lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
    power_mw = _optional(nvml, lambda: nvml.nvmlDeviceGetPowerUsage(handle))
    energy_mj = _optional(nvml, lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
    celsius = nvml.NVML_TEMPERATURE_GPU
    temperature_c = _optional(nvml, lambda: nvml.nvmlDeviceGetTemperature(handle, celsius))
    processes = _optional(nvml, lambda: nvml.nvmlDeviceGetComputeRunningProcesses(handle)) or ()
    return Device(
        index=index,
        uuid=uuid,
        name=name,
        kind="gpu",
        total_mib=memory.total // MIB,
        used_mib=memory.used // MIB,
        utilization_percent=utilization,
        power_w=None if power_mw is None else power_mw / 1000,
        energy_j=None if energy_mj is None else energy_mj / 1000,
        temperature_c=temperature_c,
        processes=tuple(
            DeviceProcess(pid=process.pid, used_mib=process.usedGpuMemory // MIB)
            for process in processes
            if process.usedGpuMemory is not None
        ),
    )


def _optional(nvml: Any, read: Callable[[], Any]) -> Any:
    """None where the device, or the rights of this process, do not offer the reading."""
    try:
        return read()
    except nvml.NVMLError:
        return None
