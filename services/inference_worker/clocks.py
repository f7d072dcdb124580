"""The clocks of one attempt: until the first token, between tokens, and in all."""

from dataclasses import dataclass

from shared.config import AttemptLimits


@dataclass(slots=True)
class Clocks:
    """Times in seconds of a monotonic clock. The connect clock is the backend's own."""

    limits: AttemptLimits
    started_s: float
    last_token_s: float | None = None

    def token(self, now_s: float) -> None:
        self.last_token_s = now_s

    def ends_s(self) -> float:
        """When the next clock runs out unless a token comes."""
        total = self.started_s + self.limits.total_s
        if self.last_token_s is None:
            return min(total, self.started_s + self.limits.first_token_s)
        return min(total, self.last_token_s + self.limits.between_tokens_s)

    def verdict(self, now_s: float) -> str:
        """Which clock has run out, as a sentence."""
        if now_s >= self.started_s + self.limits.total_s:
            return f"the attempt took longer than {self.limits.total_s:g} s"
        if self.last_token_s is None:
            return f"no first token within {self.limits.first_token_s:g} s"
        return f"no next token within {self.limits.between_tokens_s:g} s"
