"""What the monitor needs of a source of readings, whichever it is."""

from typing import Protocol

from shared.events.gpu import Device


class SamplerUnavailableError(Exception):
    """This source cannot say anything on this machine now: no driver, no tool, no device."""


class Sampler(Protocol):
    name: str

    async def sample(self) -> tuple[Device, ...]:
        """All devices whose memory can be read now, at least one.

        Raise `SamplerUnavailableError` where there is none, or no answer in time. A device that
        fails while others answer is left out.
        """
        ...
