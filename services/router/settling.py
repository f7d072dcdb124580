"""What follows an attempt that failed, fell silent, or whose node is lost."""

import asyncio
import random
from dataclasses import replace
from time import monotonic

import structlog

from services.router.policy.assignment import Late
from services.router.policy.durations import SEEN
from services.router.policy.eligibility import hopeless
from services.router.policy.failover import (
    LONGEST_BACKOFF_MS,
    FailedAttempt,
    GiveUp,
    Retry,
    after_failure,
)
from services.router.policy.request import Waiting, size_of
from services.router.term import Flying, Term
from shared.bus import index, records
from shared.bus.leading import StepDownError
from shared.bus.records import Row, State
from shared.events.base import Priority
from shared.events.inference import FailureReason, InferenceAttemptFailed, InferenceFailed
from shared.telemetry import FAILED

log = structlog.get_logger()

SET_BACK_MS = 1000.0
"""A larger step back of the store's clock is answered by leading anew."""


async def settle(
    term: Term, flying: Flying, event: InferenceAttemptFailed, *, node_lost: bool = False
) -> None:
    """Retry or give up, as the policy decides on what the record says; once for each attempt."""
    request_id = flying.waiting.id
    if term.flying.get(request_id) is not flying or request_id in term.settling:
        return
    term.settling.add(request_id)
    try:
        await _settle(term, flying, event, node_lost)
    finally:
        term.settling.discard(request_id)


async def _settle(
    term: Term, flying: Flying, event: InferenceAttemptFailed, node_lost: bool
) -> None:
    if event.reason is FailureReason.DEADLINE:
        term.outlasted(flying)
    failed = FailedAttempt(
        flying.waiting,
        flying.model,
        event.reason,
        tokens_needed=event.tokens_needed,
        message=event.message,
    )
    decision = _decide(term, failed)
    answer = await _tell(term, flying, event, decision, node_lost)
    if answer in ("first_byte", "deadline"):
        sent = answer == "first_byte"
        decision = _decide(term, replace(failed, first_byte_sent=sent), overdue=not sent)
        answer = await _tell(term, flying, event, decision, node_lost)
    _follow(term, flying, decision, answer)


def _decide(term: Term, failed: FailedAttempt, *, overdue: bool = False) -> Retry | GiveUp:
    now_ms = failed.waiting.deadline_ms if overdue else term.clock.now_ms()
    return after_failure(
        failed,
        term.fleet.offers,
        term.bus.config.attempts,
        now_ms,
        random.random(),  # noqa: S311 - jitter
    )


async def _tell(
    term: Term,
    flying: Flying,
    event: InferenceAttemptFailed,
    decision: Retry | GiveUp,
    node_lost: bool,
) -> str:
    verdict: records.Retry | InferenceFailed
    match decision:
        case Retry(waiting, charge):
            verdict = records.Retry(waiting.position, waiting.not_before_ms)
            event = event.model_copy(update={"charge": charge})
        case GiveUp(reason, message, tokens_needed):
            verdict = InferenceFailed(
                request_id=event.request_id,
                reason=reason,
                message=message,
                attempts=flying.attempt,
                last_reason=event.reason,
                tokens_needed=tokens_needed,
            )
    return await term.records.settle(
        term.token, event, flying.waiting.priority, verdict, node_lost=node_lost
    )


def _follow(term: Term, flying: Flying, decision: Retry | GiveUp, answer: str) -> None:
    """Bring memory in step with what the record became."""
    match answer, decision:
        case "alive", _:
            return
        case "waiting", Retry(waiting):
            term.landed(flying.waiting.id)
            term.backlog.add(waiting)
        case "failed", GiveUp(reason):
            FAILED.labels(flying.waiting.priority, reason).inc()
            term.landed(flying.waiting.id)
        case (("final" | "none"), _):
            term.landed(flying.waiting.id)
        case _:
            raise StepDownError(f"request {flying.waiting.id}: the record says {answer}")
    term.pump()


async def end_overdue(term: Term, waiting: Waiting, flying: Flying | None) -> None:
    """The deadline has come: the request fails, wherever it is."""
    final = InferenceFailed(
        request_id=waiting.id,
        reason=FailureReason.DEADLINE,
        message="no answer before its deadline" if flying else _overdue(term, waiting),
        attempts=flying.attempt if flying else waiting.attempt,
    )
    answer = await term.records.end(
        term.token,
        final,
        waiting.priority,
        node=flying.node if flying else "",
        attempt=flying.attempt if flying else 0,
        only_waiting=flying is None,
    )
    if answer == "ok":
        FAILED.labels(waiting.priority, FailureReason.DEADLINE).inc()
        if flying is not None:
            term.outlasted(flying)


async def end_late(term: Term, late: Late) -> None:
    """It could end before its deadline nowhere: it fails now, not then."""
    final = InferenceFailed(
        request_id=late.waiting.id,
        reason=FailureReason.DEADLINE,
        message=(
            f"too late to begin: {late.left_ms} ms are left, and {late.slot.model} on "
            f"{late.slot.node} took {late.least_ms} ms or more for each of the last {SEEN} of its "
            "size; give it more time or a higher priority"
        ),
        attempts=late.waiting.attempt,
    )
    answer = await term.records.end(term.token, final, late.waiting.priority, only_waiting=True)
    if answer == "ok":
        FAILED.labels(late.waiting.priority, FailureReason.DEADLINE).inc()


async def end_hopeless(term: Term, waiting: Waiting) -> None:
    """None of its candidates can be had, and none will be: it fails before its deadline."""
    refused = hopeless(waiting.candidates, term.fleet, term.bus.config)
    final = InferenceFailed(
        request_id=waiting.id,
        reason=refused.reason,
        message=refused.message,
        attempts=waiting.attempt,
        retry_after_s=refused.retry_after_s,
    )
    log.info("hopeless", request=waiting.id, why=refused.message)
    await term.records.end(term.token, final, waiting.priority, only_waiting=True)


def _overdue(term: Term, waiting: Waiting) -> str:
    said = [
        f"{model} could not be loaded ({problem})"
        for model in waiting.candidates
        if (problem := term.fleet.problems(model))
    ]
    todo = "; ".join(said) or "give it more time or a higher priority"
    return f"its deadline came while it waited: {todo}"


async def restore_flight(term: Term) -> None:
    """A successor's first look: which slots its predecessor's attempts use."""
    for record in await index.in_flight(term.bus.writer, term.bus.keys):
        _adopt(term, record)


async def inspect_flight(term: Term) -> None:
    """Compare memory with the flight index: settle what was released or fell silent."""
    looked_s = monotonic()
    now_ms = await term.clock.look()
    if term.clock.set_back_ms > SET_BACK_MS:
        raise StepDownError(f"the store's clock was set back by {term.clock.set_back_ms:.0f} ms")
    flight = {
        each.request_id: each for each in await index.in_flight(term.bus.writer, term.bus.keys)
    }
    for request_id, flying in list(term.flying.items()):
        if request_id not in flight and flying.since_s < looked_s:
            term.landed(request_id)
    unknown = flight.keys() - term.flying.keys()
    for request_id in unknown & term.strangers:
        _adopt(term, flight[request_id])
    term.strangers = unknown - term.strangers
    await asyncio.gather(*[_inspect(term, each, now_ms) for each in flight.values()])
    term.pump()


def _adopt(term: Term, record: Row) -> None:
    flying = term.flying[record.request_id] = flying_from(record, term.clock.now_ms())
    term.fleet.start(record.request_id, flying.node, flying.model)


async def _inspect(term: Term, record: Row, now_ms: int) -> None:
    flying = term.flying.get(record.request_id)
    if flying is None or flying.attempt != max(1, record.attempt):
        return
    node = term.fleet.nodes.get(record.node)
    lost = node is not None and not node.alive
    if record.state == State.RELEASED:
        await settle(term, flying, failure(record, FailureReason(record.last_reason)))
    elif lost or record.score <= now_ms:
        reason = FailureReason.NODE_LOST if lost else FailureReason.HUNG
        await settle(term, flying, failure(record, reason), node_lost=lost)
    elif record.state != State.FINAL and record.deadline_ms <= now_ms:
        await end_overdue(term, flying.waiting, flying)


def failure(record: Row, reason: FailureReason) -> InferenceAttemptFailed:
    """The failure of the record's present attempt."""
    return InferenceAttemptFailed(
        request_id=record.request_id,
        attempt=record.attempt,
        node=record.node or "none",
        model=record.model or "none",
        reason=reason,
        charge=reason.charge,
    )


def flying_from(record: Row, now_ms: int) -> Flying:
    """An attempt as a successor finds it: its request as it was before."""
    charged = record.charged
    if record.state == State.RELEASED:
        charged -= failure(record, FailureReason(record.last_reason)).charge
    waiting = waiting_from(record, now_ms)
    before = replace(waiting, attempt=max(0, record.attempt - 1), charged=max(0, charged))
    return Flying(before, record.model, record.node)


def waiting_from(record: Row, now_ms: int) -> Waiting:
    """A request as it waits. What lies ahead of a clock that was set back is brought within it:
    nothing was admitted in the future, and nothing waits longer than for the longest backoff.
    """
    return Waiting(
        id=record.request_id,
        tenant=record.tenant,
        priority=Priority(record.priority),
        candidates=record.chain or (record.model or "none",),
        admitted_ms=min(record.admitted_ms, now_ms),
        deadline_ms=record.deadline_ms,
        size=size_of(record.operation, record.inputbytes, record.maxtokens),
        position=min(record.position, max(0, len(record.chain) - 1)),
        not_before_ms=min(record.not_before_ms, now_ms + LONGEST_BACKOFF_MS),
        attempt=record.attempt,
        charged=record.charged,
    )
