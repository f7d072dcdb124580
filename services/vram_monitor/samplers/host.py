"""The machine's own memory, for nodes whose models run on the CPU."""

import psutil

from shared.events.gpu import Device

MIB = 1 << 20


class HostSampler:
    """Always works, so it is the last choice."""

    name = "host"

    async def sample(self) -> tuple[Device, ...]:
        memory = psutil.virtual_memory()
        device = Device(
            index=0,
            uuid="host",
            name="host memory",
            kind="host",
            total_mib=memory.total // MIB,
            used_mib=(memory.total - memory.available) // MIB,
            utilization_percent=psutil.cpu_percent(interval=None),
        )
        return (device,)
