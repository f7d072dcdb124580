"""The beat of a worker that streams much at once: all streams are read together, and what they said
is sent on together soon after. Each on a beat of its own would wake every process for each of them.
"""

TICK_S = 0.03
"""Readers see no difference below 40 ms."""

SOON_S = 0.004
"""After a tick, when whatever it brought has been taken in."""


def next_tick_in_s(now_s: float) -> float:
    """How long until streams are read again; `now_s` is the event loop's time."""
    return TICK_S - now_s % TICK_S


def next_flush_in_s(now_s: float) -> float:
    """How long until what was read is sent on."""
    return TICK_S - (now_s - SOON_S) % TICK_S
