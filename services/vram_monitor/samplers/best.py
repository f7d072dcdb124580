"""Which source of readings to trust."""

from collections.abc import Sequence

import structlog

from services.vram_monitor.samplers.port import Sampler, SamplerUnavailableError
from shared.events.gpu import Device

log = structlog.get_logger()

PROBE_EVERY_S = 60.0


class BestSampler:
    """The first source that answers, best first; better ones are tried again every minute."""

    def __init__(self, samplers: Sequence[Sampler]) -> None:
        self._samplers = samplers
        self._current = 0
        self._probe_at_s = 0.0
        self._reported: str | None = None

    async def sample(self, now_s: float) -> tuple[str, tuple[Device, ...]]:
        """The source's name and its devices. Raise `SamplerUnavailableError` where none answers."""
        if now_s >= self._probe_at_s:
            self._probe_at_s = now_s + PROBE_EVERY_S
            self._current = 0
        reasons = {}
        while self._current < len(self._samplers):
            sampler = self._samplers[self._current]
            try:
                devices = await sampler.sample()
            except SamplerUnavailableError as error:
                reasons[sampler.name] = str(error)
                self._current += 1
            else:
                self._report(sampler.name, reasons)
                return sampler.name, devices
        raise SamplerUnavailableError(f"no source of readings answers: {reasons}")

    def _report(self, name: str, reasons: dict[str, str]) -> None:
        if name != self._reported:
            log.info("sampler_chosen", sampler=name, unavailable=reasons)
            self._reported = name
