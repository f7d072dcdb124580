"""When to wait a moment for more, so that what comes together is handled together.

Each round trip and each wake-up costs the same for one entry as for ten. Where several came at
once more are on their way; one alone is somebody who waits, and goes on at once.
"""

import asyncio

SEVERAL = 3
PAUSE_EACH_S, LONGEST_PAUSE_S = 0.0005, 0.005


async def collect(came_together: int) -> None:
    """Pause if so many came at once that more are on their way, and the longer the more came."""
    if came_together >= SEVERAL:
        await asyncio.sleep(min(came_together * PAUSE_EACH_S, LONGEST_PAUSE_S))
