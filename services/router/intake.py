"""The inbox: entries become records or refusals, cancellations end requests."""

import asyncio
from collections import Counter

import structlog

from services.router import inbox
from services.router.policy.admission import Admitted, Load, admit
from services.router.policy.lanes import RANKS
from services.router.policy.refusal import Refused
from services.router.policy.request import Waiting, size_of
from services.router.term import Term
from shared.bus import blobs
from shared.bus.envelope import Entry, decode
from shared.bus.records import Admission
from shared.bus.writer import ScriptError
from shared.events.base import LOCAL, Operation, Priority
from shared.events.inference import (
    FailureReason,
    InferenceCancelled,
    InferenceCancelRequested,
    InferenceRejected,
    InferenceRequested,
)
from shared.telemetry import ADMITTED, REFUSED

log = structlog.get_logger()


class Arriving:
    """A batch on its way in: what its first ones were promised counts for those behind them."""

    def __init__(self, term: Term) -> None:
        self._rates = term.throughput.per_second(term.clock.now_ms())
        self._memory_fraction = term.memory_fraction
        self._waiting = term.backlog.lengths
        self._admitted: Counter[Priority] = Counter()

    def count(self, priority: Priority) -> None:
        self._admitted[priority] += 1

    def load(self) -> Load:
        waiting = {each: length + self._admitted[each] for each, length in self._waiting.items()}
        return Load(waiting, self._rates, self._memory_fraction)


async def take_in(term: Term, entries: list[Entry]) -> None:
    """Admit a batch in one round trip; one invalid entry never holds up the others."""
    arriving = Arriving(term)
    read = [(entry, inbox.read(entry)) for entry in entries]
    read.sort(key=_urgency)  # the first ones may get the last free slots at once
    await asyncio.gather(*[_take_in_one(term, *each, arriving) for each in read])
    term.pump()


async def cancel(term: Term, entries: list[Entry]) -> None:
    for entry in entries:
        try:
            event = decode(InferenceCancelRequested, entry).event
        except ValueError:
            await term.bus.bury(entry, "invalid: not a cancel request")
            continue
        await end_cancelled(term, event.request_id, event.reason)
        await term.bus.writer.send("XACK", entry.stream, term.bus.name, entry.id)


async def end_cancelled(term: Term, request_id: str, reason: str) -> None:
    """End a request wherever it is; one that flies keeps its slot until its worker lets go."""
    waiting = term.backlog.remove(request_id)
    flying = term.flying.get(request_id)
    known = waiting or (flying.waiting if flying else None)
    attempts = flying.attempt if flying else (waiting.attempt if waiting else 0)
    final = InferenceCancelled(request_id=request_id, message=reason, attempts=attempts)
    answer = await term.records.end(
        term.token,
        final,
        known.priority if known else Priority.NORMAL,
        node=flying.node if flying else "",
        attempt=flying.attempt if flying else 0,
    )
    log.info("cancelled", request=request_id, answer=answer)


def _urgency(read: tuple[Entry, inbox.Incoming | inbox.Unreadable]) -> int:
    priority = read[1].attributes.priority if isinstance(read[1], inbox.Incoming) else None
    return RANKS[priority or Priority.NORMAL]


async def _take_in_one(
    term: Term, entry: Entry, incoming: inbox.Incoming | inbox.Unreadable, arriving: Arriving
) -> None:
    principal = inbox.principal_of(entry, term.bus.keys.stream(InferenceRequested))
    try:
        if isinstance(incoming, inbox.Incoming) and incoming.dataref:
            body_bytes = await blobs.size_bytes(term.bus.writer, term.bus.keys, incoming.dataref)
            incoming = inbox.measured(incoming, body_bytes)
        if isinstance(incoming, inbox.Unreadable):
            await _refuse_unreadable(term, entry, incoming, principal)
        else:
            await _admit(term, entry, incoming, principal, arriving)
    except ScriptError as error:
        # A key of ours that somebody made something else of, or more fields than a script takes.
        log.warning("not_admitted", entry=entry.id, error=str(error))
        await term.bus.bury(entry, f"invalid: {error}")


async def _admit(
    term: Term, entry: Entry, incoming: inbox.Incoming, principal: str, arriving: Arriving
) -> None:
    decision = admit(incoming.attributes, term.bus.config, term.fleet, arriving.load())
    admission = _admission(incoming, principal, decision)
    if isinstance(decision, Refused):
        outcome, _ = await term.records.admit(term.token, entry, admission)
        if outcome == "rejected":
            REFUSED.labels(decision.reason).inc()
        return
    outcome, admitted_ms = await _dispatched_at_once(term, entry, admission) or (
        await _queued(term, entry, admission, arriving)
    )
    if outcome in ("waiting", "dispatched"):
        ADMITTED.labels(admission.priority, admission.task).inc()
    if outcome == "waiting" and incoming.request_id not in term.backlog:
        term.backlog.add(_waiting(admission, admitted_ms))


async def _dispatched_at_once(
    term: Term, entry: Entry, admission: Admission
) -> tuple[str, int] | None:
    """None where it has to wait, be it that the way to its node is broken."""
    now_ms = term.clock.now_ms()
    assignment = term.at_once(_waiting(admission, now_ms))
    if assignment is None:
        return None
    outcome = ""
    try:
        sent = term.sent(assignment, now_ms)
        outcome, admitted_ms = await term.records.admit(term.token, entry, admission, sent)
    except ScriptError as error:
        log.warning("not_dispatched", request=admission.request_id, error=str(error))
        return None
    finally:
        if outcome != "dispatched":
            term.landed(admission.request_id)
    return outcome, admitted_ms


async def _queued(
    term: Term, entry: Entry, admission: Admission, arriving: Arriving
) -> tuple[str, int]:
    arriving.count(admission.priority)
    term.queueing.add(admission.request_id)
    try:
        return await term.records.admit(term.token, entry, admission)
    finally:
        term.queueing.discard(admission.request_id)


def _admission(incoming: inbox.Incoming, principal: str, decision: Admitted | Refused) -> Admission:
    refusal, fields = None, incoming.fields(principal)
    if isinstance(decision, Refused):
        refusal = InferenceRejected(
            request_id=incoming.request_id,
            reason=decision.reason,
            message=decision.message,
            retry_after_s=decision.retry_after_s,
        )
        decision = Admitted(
            task=incoming.attributes.task or "",
            priority=incoming.attributes.priority or Priority.NORMAL,
            operation=incoming.attributes.operation or Operation.CHAT,
            candidates=(),
            deadline_ms=0,
            max_tokens=None,
        )
    return Admission(
        request_id=incoming.request_id,
        priority=decision.priority,
        task=decision.task,
        model=incoming.attributes.model or "",
        asked=f"{incoming.attributes.task or ''}\n{incoming.attributes.model or ''}",
        chain=decision.candidates,
        deadline_ms=decision.deadline_ms,
        fields={**fields, "operation": decision.operation},
        replyto=incoming.replyto,
        dataref=incoming.dataref,
        refusal=refusal,
    )


def _waiting(admission: Admission, admitted_ms: int) -> Waiting:
    fields = admission.fields
    return Waiting(
        id=admission.request_id,
        tenant=fields["tenant"],
        priority=admission.priority,
        candidates=admission.chain,
        admitted_ms=admitted_ms,
        deadline_ms=admitted_ms + admission.deadline_ms,
        size=size_of(fields["operation"], int(fields["inputbytes"]), int(fields["maxtokens"] or 0)),
    )


async def _refuse_unreadable(
    term: Term, entry: Entry, unreadable: inbox.Unreadable, principal: str
) -> None:
    """Refuse it by name where it has one; keep the entry as a dead letter either way."""
    if unreadable.request_id:
        refusal = InferenceRejected(
            request_id=unreadable.request_id,
            reason=FailureReason.INVALID,
            message=unreadable.why,
        )
        admission = Admission(
            request_id=unreadable.request_id,
            priority=Priority.NORMAL,
            task="",
            model="",
            asked="",
            chain=(),
            deadline_ms=0,
            fields={"principal": principal, "tenant": LOCAL},
            replyto=unreadable.replyto,
            refusal=refusal,
        )
        await term.records.admit(term.token, entry, admission)
        REFUSED.labels(FailureReason.INVALID).inc()
    await term.bus.bury(entry, f"invalid: {unreadable.why}")
