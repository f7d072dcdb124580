"""Handing calls to the bus, each Idempotency-Key with one content only."""

from collections import OrderedDict
from dataclasses import replace
from itertools import count
from time import monotonic

from services.gateway.calls import Call
from services.gateway.errors import ApiError, refusal, store_unavailable
from services.gateway.exchange import Exchange, StoreFull, StoreUnavailable
from services.gateway.limits import Limits
from shared.bus.ids import idempotent_request_id
from shared.events.inference import FailureReason

FOR_LACK_OF_ROOM = frozenset({FailureReason.SATURATED, FailureReason.NO_ELIGIBLE_NODE})
"""Refusals after which the same request may be admitted."""

KEYS_KEPT = 10_000
KEPT_S = 3600.0
"""As long as the record of an ended request answers for its key."""


class Desk:
    """Submits calls. The router refuses other content under a known key as well; but it answers
    by request id, and both requests would hear it if they came from here."""

    def __init__(self, exchange: Exchange, limits: Limits) -> None:
        self.exchange = exchange
        self.limits = limits
        self._contents: OrderedDict[str, tuple[bytes, float]] = OrderedDict()

    async def numbered(self, call: Call) -> Call:
        """The call, under an id of its own where its key was refused for lack of room before.

        Such a refusal tells the caller to come back, so it is not the key's answer for ever.
        """
        if call.digest is None:
            return call
        submission = call.submission
        for again in count(1):
            if not await self._lacked_room(submission.id):
                break
            number = idempotent_request_id(call.submission.id, str(again))
            submission = replace(submission, id=number)
        return replace(call, submission=submission)

    async def _lacked_room(self, request_id: str) -> bool:
        try:
            known = await self.exchange.state(request_id)
        except StoreUnavailable:
            raise store_unavailable() from None
        result = known.result if known is not None and known.state == "rejected" else None
        return result is not None and result.get("reason") in FOR_LACK_OF_ROOM

    async def submit(self, call: Call) -> None:
        """Publish the request. Raises `ApiError` where it is not taken."""
        self._claim_key(call)
        try:
            await self.exchange.submit(call.submission)
        except StoreFull as error:
            self._contents.pop(call.submission.id, None)
            message = f"No new work is taken: {error}; try again when there is room."
            raise ApiError(429, message, code="store_full") from None
        except StoreUnavailable:
            raise store_unavailable() from None

    def _claim_key(self, call: Call) -> None:
        if call.digest is None:
            return
        now = monotonic()
        digest, since = self._contents.pop(call.submission.id, (call.digest, now))
        if now - since > KEPT_S:
            digest, since = call.digest, now
        self._contents[call.submission.id] = (digest, since)
        if len(self._contents) > KEYS_KEPT:
            self._contents.popitem(last=False)
        if digest != call.digest:
            raise refusal(
                FailureReason.CONFLICT,
                "This Idempotency-Key was used for a request with other content; use a new one.",
            )
