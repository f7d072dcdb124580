"""Points in time, as people write them."""

import re
from datetime import UTC, datetime, timedelta

from cli.errors import UserError

AGO = re.compile(r"(\d+)\s*(s|min|h|d)")
UNITS_S = {"s": 1, "min": 60, "h": 3600, "d": 86_400}


def since_ms(text: str | None) -> int | None:
    """What --since says, in ms since 1970; None where it says nothing. Raise `UserError`."""
    if text is None:
        return None
    try:
        if ago := AGO.fullmatch(text.strip()):
            span = timedelta(seconds=int(ago[1]) * UNITS_S[ago[2]])
            return int((datetime.now(UTC) - span).timestamp() * 1000)
        return int(datetime.fromisoformat(text).astimezone().timestamp() * 1000)
    except (ValueError, OverflowError):
        raise UserError(
            f"--since {text} is no time.",
            "Say how long ago, like 30min, 12h or 7d, or when, like 2026-11-21 or "
            "2026-11-21T15:00.",
        ) from None
