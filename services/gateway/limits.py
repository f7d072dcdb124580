"""How much and how long a client may make the gateway wait, and the other way round."""

from dataclasses import dataclass

from shared.events.inference import MAX_BODY_BYTES


@dataclass(frozen=True, slots=True)
class Limits:
    body_bytes: int = MAX_BODY_BYTES
    body_s: float = 30.0
    """For all of the body, so that one that trickles in is not held for ever."""
    linger_s: float = 2.0
    """For a refused client to finish sending, so that it reads the answer and not a reset."""
    quiet_s: float = 10.0
    """Without a sign of life; proxies cut connections that are silent much longer."""
    grace_s: float = 10.0
    """For the router to say that a deadline has passed, before the gateway says so itself."""
    unadmitted_s: float = 900.0
    """Deadline of a call that states none, until its record tells which one it got."""
