"""NVIDIA's command line tool, where its library cannot be loaded."""

import asyncio
import csv

from services.vram_monitor.samplers.port import SamplerUnavailableError
from shared.events.gpu import Device

TIMEOUT_S = 5.0
FIELDS = (
    "index",
    "uuid",
    "name",
    "memory.total",
    "memory.used",
    "utilization.gpu",
    "power.draw",
    "temperature.gpu",
)


class NvidiaSmiSampler:
    name = "nvidia-smi"

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s

    async def sample(self) -> tuple[Device, ...]:
        devices = parse(await self._output())
        if not devices:
            raise SamplerUnavailableError("no GPU tells how full its memory is")
        return devices

    async def _output(self) -> str:
        try:
            process = await asyncio.create_subprocess_exec(
                "nvidia-smi",
                f"--query-gpu={','.join(FIELDS)}",
                "--format=csv,noheader,nounits",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
        except OSError as error:
            raise SamplerUnavailableError(f"nvidia-smi cannot be run: {error.strerror}") from error
        try:
            async with asyncio.timeout(self._timeout_s):
                output, _ = await process.communicate()
        except TimeoutError as error:
            raise SamplerUnavailableError(f"no answer within {self._timeout_s} s") from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        text = output.decode(errors="replace")
        if process.returncode != 0:
            raise SamplerUnavailableError(
                text.strip().partition("\n")[0][:200] or "nvidia-smi failed"
            )
        return text


def parse(text: str) -> tuple[Device, ...]:
    """Devices of the tool's answer to `FIELDS`; without those whose memory it cannot tell."""
    rows = csv.reader(text.splitlines(), skipinitialspace=True)
    readings = [_device(row) for row in rows if len(row) == len(FIELDS)]
    return tuple(device for device in readings if device is not None)


def _device(row: list[str]) -> Device | None:
    index, uuid, name, *numbers = row
    total_mib, used_mib, utilization, power_w, temperature_c = map(_number, numbers)
    if not index.isdecimal() or total_mib is None or used_mib is None:
        return None
    return Device(
        index=int(index),
        uuid=uuid,
        name=name,
        kind="gpu",
        total_mib=int(total_mib),
        used_mib=int(used_mib),
        utilization_percent=utilization,
        power_w=power_w,
        temperature_c=temperature_c,
    )


def _number(text: str) -> float | None:
    """None for what the tool cannot tell: `[N/A]`, `[Not Supported]`, `[GPU is lost]`."""
    try:
        return float(text)
    except ValueError:
        return None
