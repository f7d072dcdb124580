"""Rules instead of a model: it picks the label whose words a text contains. Always resident."""

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from services.inference_worker.backends.port import (
    BackendError,
    Call,
    Delta,
    Finished,
    Profile,
    Resident,
)
from shared.config.models import HEURISTIC_PREFIX, HeuristicConfig
from shared.events.base import Operation
from shared.events.inference import MAX_BODY_BYTES, FailureReason
from shared.events.models import LocalModel

SLOTS = 32
CONTEXT_TOKENS = MAX_BODY_BYTES
"""Any text: no request's body is larger."""


def classify(text: str, rules: HeuristicConfig) -> str:
    """The label most of whose words the text contains, as whole words in any case; of equals the
    one found more often, then the one written first. The default where none is found. Pure."""
    best, best_score = rules.default, (0, 0)
    for rule in rules.rules:
        counts = [len(_whole_word(word).findall(text)) for word in rule.any_of]
        score = (sum(count > 0 for count in counts), sum(counts))
        if score > best_score:
            best, best_score = rule.label, score
    return best


@lru_cache(maxsize=4096)
def _whole_word(word: str) -> re.Pattern[str]:
    spaced = r"\s+".join(re.escape(part) for part in word.split())
    return re.compile(rf"(?<!\w){spaced}(?!\w)", re.IGNORECASE)


class Heuristic:
    """`rules`: those of the configuration, offered as `heuristic:<key>`."""

    engine = "heuristic"

    def __init__(self, rules: Mapping[str, HeuristicConfig]) -> None:
        self._rules = {HEURISTIC_PREFIX + key: rule for key, rule in rules.items()}

    async def models(self) -> Sequence[LocalModel]:
        return [
            LocalModel(
                name=name,
                engine=self.engine,
                context_tokens=CONTEXT_TOKENS,
                slots=SLOTS,
                need_mib=0,
                loadable=False,
                degraded=True,
            )
            for name in self._rules
        ]

    def left_out(self) -> Mapping[str, str]:
        return {}

    async def resident(self) -> Sequence[Resident]:
        return [Resident(name) for name in self._rules]

    async def load(self, profile: Profile) -> int | None:
        self._rules_of(profile.model)
        return None

    async def unload(self, model: str) -> None:
        raise BackendError(FailureReason.REFUSED, f"{model} is always there; it takes no memory")

    async def stream(self, call: Call) -> AsyncGenerator[Delta | Finished, None]:
        label = classify(_text(call), self._rules_of(call.profile.model))
        yield Delta(label)
        yield Finished()

    async def close(self) -> None:
        return None

    def _rules_of(self, model: str) -> HeuristicConfig:
        if model not in self._rules:
            raise BackendError(
                FailureReason.REFUSED,
                f"there are no rules for {model}; add them under heuristics in roundhouse.yaml",
            )
        return self._rules[model]


def _text(call: Call) -> str:
    """What is to be classified: the last message of the user, or the prompt."""
    match call.operation, call.input:
        case Operation.CHAT, {"messages": [*messages]}:
            said = [each for each in messages if isinstance(each, dict)]
            users = [each for each in said if each.get("role") == "user"]
            if users:
                return _plain(users[-1].get("content"))
        case Operation.COMPLETION, {"prompt": str(prompt)}:
            return prompt
    raise BackendError(
        FailureReason.BAD_INPUT,
        "rules classify text: the last user message of a chat, or the prompt of a completion",
    )


def _plain(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return "\n".join(text for text in texts if isinstance(text, str))
