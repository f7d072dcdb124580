"""The services that `up` runs."""

import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Service:
    """`edge`: listens where the user asked for; the others where only this machine reaches.
    `section` of the configuration: there is nothing to do without it.

    Inference goes on without one that is not `needed`.
    """

    name: str
    command: tuple[str, ...]
    edge: bool = False
    section: str = ""
    needed: bool = True


def _module(name: str) -> tuple[str, ...]:
    """`-P`: what lies in the current folder is never imported."""
    return (sys.executable, "-P", "-m", name)


@dataclass(frozen=True)
class Services:
    """One process per service, in stages; or one process for them all."""

    stages: tuple[tuple[Service, ...], ...]
    compact: Service

    @property
    def names(self) -> frozenset[str]:
        return frozenset(row.name for stage in self.stages for row in stage)


SERVICES = Services(
    stages=(
        (
            Service("router", _module("services.router")),
            Service("model-manager", _module("services.model_manager")),
            Service("inference-worker", _module("services.inference_worker")),
            Service("vram-monitor", _module("services.vram_monitor")),
            Service("notifier", _module("services.notifier"), needed=False, section="endpoints"),
            Service("audit-logger", _module("services.audit_logger"), needed=False),
        ),
        (Service("gateway", _module("services.gateway"), edge=True),),
    ),
    compact=Service("services", _module("services"), edge=True),
)
