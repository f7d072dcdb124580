"""A request as a small model of the scripts sees it: what each call answers, and what it changes.

Written from the table of the request record, not from the scripts: where both disagree, one errs.
"""

from collections import Counter
from dataclasses import dataclass, field

from shared.events.base import Priority

FLYING = ("dispatched", "running", "released")


@dataclass
class ModelRequest:
    state: str = "none"
    content: str = ""
    priority: Priority = Priority.NORMAL
    attempt: int = 0
    charged: int = 0
    node: str = ""
    executor: str = ""
    stop: str = ""
    outcome: str = ""
    first_byte: bool = False
    overdue: bool = False
    lease_is_over: bool = False
    holds_slot: bool = False
    replyto: str = ""
    waiters: list[str] = field(default_factory=list)
    answered: Counter[str] = field(default_factory=Counter)
    """How often each asker heard how it ended."""
    conflicts: Counter[str] = field(default_factory=Counter)
    """How often each asker was told that the id is taken."""

    # --- the leader ----------------------------------------------------------------------------

    def admit(self, content: str, asker: str, priority: Priority) -> str:
        if self.state == "cancelled_early":
            self.content, self.replyto, self.priority = content, asker, priority
            self._end("cancelled")
            return "cancelled"
        if self.state == "none":
            self.state, self.content = "waiting", content
            self.replyto, self.priority = asker, priority
            return "waiting"
        if content != self.content:
            self.conflicts[asker] += bool(asker)
            return "conflict"
        if self.state == "final":
            self.answered[asker] += bool(asker)
        elif asker and asker not in (self.replyto, *self.waiters):
            self.waiters.append(asker)
        return "duplicate"

    def dispatch(self, attempt: int, node: str) -> str:
        if self.state == "dispatched" and (attempt, node) == (self.attempt, self.node):
            return "ok"
        if self.state != "waiting" or attempt != self.attempt + 1:
            return self.state
        self.state, self.attempt, self.node, self.executor = "dispatched", attempt, node, ""
        self.holds_slot, self.lease_is_over = True, False
        return "ok"

    def settle(self, attempt: int, *, retry: bool, node_lost: bool) -> str:
        if self.state in ("none", "final"):
            self.holds_slot = False
            return self.state
        if self.state == "waiting":
            return "waits_already"
        if attempt != self.attempt or self.state == "cancelled_early":
            return "attempt"
        if not (self.state == "released" or node_lost or self.lease_is_over):
            return "alive"
        if retry and self.first_byte:
            return "first_byte"
        if retry and self.overdue:
            return "deadline"
        self.charged += self.state != "released"
        if not retry:
            self._end("failed")
            return "failed"
        self.state, self.executor, self.stop, self.holds_slot = "waiting", "", "", False
        return "waiting"

    def end(self, outcome: str, *, only_waiting: bool) -> str:
        if self.state == "none":
            if outcome != "cancelled":
                return "none"
            self.state = "cancelled_early"
            return "early"
        if self.state in ("final", "cancelled_early"):
            return "final"
        if only_waiting and self.state != "waiting":
            return "flying"
        at_worker = self.state in ("dispatched", "running")
        self._end(outcome)
        self.holds_slot = at_worker
        self.stop = ("cancelled" if outcome == "cancelled" else "deadline") if at_worker else ""
        return "ok"

    def preempt(self, attempt: int) -> str:
        if self.state != "running" or attempt != self.attempt:
            return self.state
        if self.first_byte:
            return "first_byte"
        self.stop = "preempted"
        return "ok"

    def reprioritise(self, before: Priority, after: Priority) -> str:
        if self.state != "waiting":
            return self.state
        if self.priority not in (before, after):
            return self.priority
        self.priority = after
        return "ok"

    # --- a worker ------------------------------------------------------------------------------

    def start(self, attempt: int, node: str, executor: str) -> bool:
        mine = (attempt, node) == (self.attempt, self.node)
        if mine and self.state == "running" and executor == self.executor:
            return True
        if mine and self.state == "dispatched":
            self.state, self.executor, self.lease_is_over = "running", executor, False
            return True
        if mine and self.state == "final":
            self.holds_slot = False
        return False

    def beat(self, attempt: int, executor: str) -> str:
        if self._told_to_stop(attempt, executor):
            return self.stop or "superseded"
        if (attempt, executor) != (self.attempt, self.executor):
            return "superseded"
        self.lease_is_over = False
        return self.stop or ("deadline" if self.overdue else "ok")

    def emit(self, attempt: int, executor: str) -> str:
        if self._told_to_stop(attempt, executor):
            return self.stop or "superseded"
        if (attempt, executor) != (self.attempt, self.executor):
            return "superseded"
        if self.stop:
            return self.stop
        self.first_byte, self.lease_is_over = True, False
        return "ok"

    def finish(self, attempt: int, executor: str, *, completes: bool, charge: int) -> bool:
        if self.state == "final" and attempt == self.attempt:
            self.holds_slot = False
        if self.state != "running" or (attempt, executor) != (self.attempt, self.executor):
            return False
        if completes:
            self._end("completed")
        else:
            self._release(charge)
        return True

    def abandon(self, attempt: int, node: str, instance: str) -> str:
        mine = (attempt, node) == (self.attempt, self.node)
        if mine and self.state == "dispatched":
            return "dispatched"
        if mine and self.state == "running":
            if self.executor.startswith(f"{instance}/"):
                return "own"
            self._release(1)
            return "ok"
        if mine and self.state == "final":
            self.holds_slot = False
        return "stale"

    # --- inside --------------------------------------------------------------------------------

    def _told_to_stop(self, attempt: int, executor: str) -> bool:
        mine = (attempt, executor) == (self.attempt, self.executor)
        return mine and self.state != "running"

    def _release(self, charge: int) -> None:
        self.state, self.lease_is_over = "released", True
        self.charged += charge

    def _end(self, outcome: str) -> None:
        self.state, self.outcome, self.stop, self.holds_slot = "final", outcome, "", False
        self.answered.update({asker for asker in (self.replyto, *self.waiters) if asker})
        self.waiters = []
