"""What a generator of load is asked to do, and what it saw."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from time import perf_counter
from typing import Any

from tests.benchmarks.engine import INSTANT, PACED


class Way(StrEnum):
    """How requests are brought: to an HTTP server, or into our stream."""

    HTTP = "HTTP"
    STREAM = "stream"


class Shape(StrEnum):
    """What is asked for."""

    PLAIN = "plain"
    CHUNKS = "50 chunks"
    PACED_CHUNKS = "50 chunks, 10 ms each"

    @property
    def streamed(self) -> bool:
        return self is not Shape.PLAIN

    @property
    def model(self) -> str:
        return PACED if self is Shape.PACED_CHUNKS else INSTANT


@dataclass(frozen=True)
class Order:
    """Keep `in_flight` requests going for `seconds`, then wait for those that are left.

    `address` is the URL of an HTTP server, or of the store. `expected` stands in every answer.
    """

    way: Way
    address: str
    shape: Shape
    in_flight: int
    seconds: float
    expected: str
    authorization: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Order":
        given = json.loads(text)
        return cls(**(given | {"way": Way(given["way"]), "shape": Shape(given["shape"])}))


@dataclass(frozen=True)
class Seen:
    """What came of an order. Milliseconds are those of complete answers, and of first chunks."""

    requests: int
    failures: dict[str, int]
    elapsed_s: float
    p50_ms: float
    p99_ms: float
    first_p50_ms: float

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Seen":
        return cls(**json.loads(text))


@dataclass
class Tally:
    """Counts answers while an order is carried out."""

    order: Order
    started_s: float = field(default_factory=perf_counter)
    complete_s: list[float] = field(default_factory=list)
    first_s: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def goes_on(self) -> bool:
        return perf_counter() < self.started_s + self.order.seconds and not self.failures

    def answered(self, asked_s: float, first_s: float) -> None:
        self.complete_s.append(perf_counter() - asked_s)
        self.first_s.append(first_s - asked_s)

    def seen(self) -> Seen:
        return Seen(
            requests=len(self.complete_s),
            failures=dict(self.failures),
            elapsed_s=perf_counter() - self.started_s,
            p50_ms=percentile(self.complete_s, 0.5) * 1000,
            p99_ms=percentile(self.complete_s, 0.99) * 1000,
            first_p50_ms=percentile(self.first_s, 0.5) * 1000,
        )


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed; 0 where there are none."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)] if ordered else 0.0


QUESTION = (
    "Host web-03 answers on port 6379 without a password. The banner says Redis 5.0.7. The host is"
    " reachable from the guest Wi-Fi. Say how severe this is, why, and what to do first. Answer in"
    " three sentences, for somebody who has five minutes before a meeting."
)
SYSTEM = (
    "You are a security analyst. Say how severe the finding is (low, medium, high, critical),"
    " why, and what to do first."
)


def body(shape: Shape) -> dict[str, Any]:
    """An OpenAI request of some 600 bytes."""
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]
    return {
        "model": shape.model,
        "messages": messages,
        "max_tokens": 200,
        **({"stream": True} if shape.streamed else {}),
    }
