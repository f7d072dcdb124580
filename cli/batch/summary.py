"""What a file of results says as a whole."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

TOKENS = ("prompt_tokens", "completion_tokens", "cached_tokens")


class Summary:
    """Counted result by result, in as much memory for a million as for ten."""

    def __init__(self, results: Iterable[dict[str, Any]]) -> None:
        self.outcomes: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.tokens = dict.fromkeys(TOKENS, 0)
        self._waits_ms: Counter[int] = Counter()
        for result in results:
            self._count(result)

    def _count(self, result: dict[str, Any]) -> None:
        self.outcomes[result["outcome"]] += 1
        if error := result.get("error"):
            self.reasons[error.get("reason", "unknown")] += 1
        for name in TOKENS:
            self.tokens[name] += (result.get("usage") or {}).get(name) or 0
        wait_ms = (result.get("timings") or {}).get("queue_ms")
        if wait_ms is not None:
            self._waits_ms[_rounded(wait_ms)] += 1

    def wait_ms(self, share: float) -> int | None:
        """So long waited for a slot this share of those that were answered, to three digits."""
        left = share * self._waits_ms.total()
        for wait_ms in sorted(self._waits_ms):
            left -= self._waits_ms[wait_ms]
            if left <= 0:
                return wait_ms
        return None

    @property
    def all_completed(self) -> bool:
        return set(self.outcomes) <= {"completed"}

    def document(self) -> dict[str, Any]:
        return {
            "results": self.outcomes.total(),
            "outcomes": dict(self.outcomes),
            "reasons": dict(self.reasons),
            "tokens": self.tokens,
            "wait_ms": {"p50": self.wait_ms(0.5), "p95": self.wait_ms(0.95)},
        }

    def lines(self) -> list[str]:
        """For people."""
        said = [f"{count} {outcome}" for outcome, count in self.outcomes.most_common()]
        total = self.outcomes.total()
        lines = [f"{total} results: {', '.join(said) or 'none'}"]
        if self.reasons:
            why = [f"{reason} ({count})" for reason, count in self.reasons.most_common()]
            lines.append(f"without an answer because of: {', '.join(why)}")
        tokens = self.tokens
        lines.append(
            f"tokens: {tokens['prompt_tokens']} in, {tokens['completion_tokens']} out, "
            f"{tokens['cached_tokens']} of those in from a cache"
        )
        if self._waits_ms:
            lines.append(
                f"wait for a slot: p50 {self.wait_ms(0.5)} ms, p95 {self.wait_ms(0.95)} ms"
            )
        return lines


def _rounded(number: int) -> int:
    """To three digits, which leaves few different ones of a million."""
    return round(number, min(0, 3 - len(str(number))))
