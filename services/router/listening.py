"""Whether a leader has heard the nodes for long enough to refuse anything for lack of one."""

from collections.abc import Iterable

GAP = 2.0
"""Heartbeats that may be missing between two, whoever sent them, while the store is there."""


def listened_s(ages_s: Iterable[float], heartbeat_s: float) -> float:
    """For how long heartbeats have come without a gap up to now, in seconds.

    A gap means that the store was away. Who was heard before it may be about to come back.
    """
    listened = 0.0
    for age_s in sorted(ages_s):
        if age_s - listened > GAP * heartbeat_s:
            break
        listened = age_s
    return listened
