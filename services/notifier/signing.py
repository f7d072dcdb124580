"""The body of a webhook and its headers, after Standard Webhooks. Pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic_core import to_json
from standardwebhooks import Webhook


def body_of(event: str, time: str, data: dict[str, Any]) -> bytes:
    """The same bytes at every attempt."""
    return to_json({"type": event, "timestamp": time, "data": data})


def headers_of(
    notification_id: str, body: bytes, keys: Sequence[bytes], now: datetime
) -> dict[str, str]:
    """`now` (UTC) is the attempt's. With several keys, any of them verifies it."""
    text = body.decode()
    signatures = [Webhook(key).sign(notification_id, now, text) for key in keys]
    return {
        "content-type": "application/json",
        "webhook-id": notification_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
