"""Stretches of time: what is left of them, and what they share. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """From a moment up to another, in milliseconds."""

    start_ms: int
    end_ms: int

    @property
    def length_ms(self) -> int:
        return self.end_ms - self.start_ms


class Spans:
    """Stretches that neither overlap nor touch, in order."""

    def __init__(self, spans: Iterable[Span]) -> None:
        merged: list[Span] = []
        for span in sorted(span for span in spans if span.length_ms > 0):
            if merged and span.start_ms <= merged[-1].end_ms:
                end_ms = max(merged[-1].end_ms, span.end_ms)
                merged[-1] = Span(merged[-1].start_ms, end_ms)
            else:
                merged.append(span)
        self.spans = tuple(merged)

    @property
    def length_ms(self) -> int:
        return sum(span.length_ms for span in self.spans)

    def covers(self, moment_ms: int) -> bool:
        return any(span.start_ms <= moment_ms < span.end_ms for span in self.spans)

    def within(self, others: "Spans") -> "Spans":
        """What both cover."""
        return Spans(
            Span(max(ours.start_ms, theirs.start_ms), min(ours.end_ms, theirs.end_ms))
            for ours in self.spans
            for theirs in others.spans
        )

    def without(self, others: "Spans") -> "Spans":
        """What only these cover."""
        left = list(self.spans)
        for other in others.spans:
            left = [
                rest
                for span in left
                for rest in (
                    Span(span.start_ms, min(span.end_ms, other.start_ms)),
                    Span(max(span.start_ms, other.end_ms), span.end_ms),
                )
                if rest.length_ms > 0
            ]
        return Spans(left)
