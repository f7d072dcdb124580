"""Whether the audit trail keeps up: the alert where it does not, and what strict makes of it."""

import structlog

from services.router.term import Term
from shared.bus.trimming import AUDIT
from shared.bus.unsettled import TOO_MUCH, unsettled_share
from shared.events.inference import STORIES
from shared.events.operations import AlertRaised, AlertResolved

log = structlog.get_logger()

ALERT = "audit_behind"
CONSEQUENCE = {
    "strict": "new requests are refused",
    "best_effort": "it spills to a file where its database is away",
}


class TrailWatch:
    """Looks now and then; tells of each change once."""

    def __init__(self, term: Term) -> None:
        self._term = term
        self._behind = False

    async def look(self) -> None:
        bus = self._term.bus
        mode = bus.config.audit.mode
        share = 0.0
        if mode != "off":
            streams = [bus.keys.stream(event) for event in STORIES]
            share = await unsettled_share(bus.client, AUDIT, streams)
        behind = share >= TOO_MUCH
        self._term.audit_overdue = behind and mode == "strict"
        if behind != self._behind:
            self._behind = behind
            await self._tell(share, mode)

    async def _tell(self, share: float, mode: str) -> None:
        event: AlertRaised | AlertResolved
        if self._behind:
            held = f"what the audit trail has not written yet holds {share:.0%} of the store"
            event = AlertRaised(alert=ALERT, summary=f"{held}; {CONSEQUENCE[mode]}")
        else:
            event = AlertResolved(
                alert=ALERT, summary="the audit trail keeps up again", reason="caught up"
            )
        log.warning("audit_trail", behind=self._behind, share=round(share, 2))
        await self._term.bus.publish(event, ordinal=str(self._term.clock.now_ms()))
