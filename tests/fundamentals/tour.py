"""What all stops of the tour share."""

from collections.abc import Awaitable, Callable

from shared.config import Config, Timing
from shared.service import Service

FAST = Config(
    timing=Timing(
        heartbeat_s=0.3,
        node_lost_s=1.5,
        flight_lease_s=1.5,
        flight_beat_s=0.4,
        router_lease_s=0.9,
        router_renew_s=0.2,
        claim_idle_s=0.9,
        claim_beat_s=0.2,
    )
)
"""As in production, only faster."""

Say = Callable[[str], None]
"""Shows a measured figure, also of a test that passes."""

Open = Callable[[Service], Awaitable[Service]]
"""Starts a service in this process, and stops it at the end."""
