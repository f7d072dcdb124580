"""When a device's memory counts as nearly full. Pure."""

from typing import Literal

Pressure = Literal["normal", "high", "critical"]

HIGH_PERCENT = 85.0
CRITICAL_PERCENT = 95.0
HYSTERESIS_PERCENT = 5.0
"""How far usage must fall below a bound before the pressure falls."""


def pressure(previous: Pressure, used_mib: int, total_mib: int) -> Pressure:
    """The pressure after a reading, given the one before it."""
    percent = 100.0 * used_mib / total_mib if total_mib else 0.0
    high_at, critical_at = HIGH_PERCENT, CRITICAL_PERCENT
    if previous != "normal":
        high_at -= HYSTERESIS_PERCENT
    if previous == "critical":
        critical_at -= HYSTERESIS_PERCENT
    if percent >= critical_at:
        return "critical"
    return "high" if percent >= high_at else "normal"
