"""What a run asks for and what it breaks: a pure function of the seed.

Everything is placed by how many requests were submitted before it, never by the clock, so that a
slow machine replays the same schedule as a fast one.
"""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

NODES = ("n1", "n2", "n3", "n4")
REAL_NODES = ("n1", "n2")
"""Where llama.cpp serves a tiny model, beside the scripted engine that every node has."""
LLAMA = "llama"
ENGINES = (*(f"engine-{node}" for node in NODES), LLAMA, LLAMA)
REAL = "small"
"""The model that llama.cpp serves."""


class Way(StrEnum):
    """How a request reaches the inbox."""

    STREAM = "stream"
    FOREIGN = "foreign"
    """As a program writes it that knows nothing but `data`."""
    PLAIN = "plain http"
    SSE = "streamed http"
    SUBMIT = "submitted http"


class Again(StrEnum):
    """What is published a second time under a request's id."""

    NO = ""
    SAME = "the same"
    OTHER = "other content"


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. `..._after`: once so many more requests were submitted; None: never."""

    number: int
    way: Way
    model: str
    priority: str
    deadline_ms: int
    chunks: bool
    keyed: bool
    gateway: int
    again: Again
    again_after: int
    cancel_after: int | None
    """Negative: the cancellation comes before the request."""
    leaves_s: float | None
    """HTTP: for how long the client waits, where it does not wait for the end."""
    padding: int
    """Bytes that the body is larger by."""


class Kind(StrEnum):
    KILL = "kill"
    """kill -9; back after a moment."""
    STOP = "stop"
    """SIGTERM, as an update does it; back after a moment."""
    FREEZE = "freeze"
    """SIGSTOP, later SIGCONT: a zombie that believes that it still holds what it held."""
    LOSE = "lose"
    """A node's worker is killed, and back only after the node counts as lost."""
    CUT = "cut"
    """Replies of the store are swallowed together with their connections."""
    PART = "part"
    """The network holds everything back, then delivers it."""
    JUMP = "jump"
    """The store's clock steps by `for_s`, and stays there."""


@dataclass(frozen=True, slots=True)
class Fault:
    at: int
    """Requests that were submitted before it."""
    kind: Kind
    target: str
    for_s: float
    share: float = 0.0
    """CUT: of the replies that are lost."""

    @property
    def sort(self) -> str:
        """Kind and kind of target: all nodes are one, and so are all engines."""
        return f"{self.kind} {_sort(self.target)}"

    def __str__(self) -> str:
        share = f" {self.share:.0%}" if self.share else ""
        return f"{self.at:>6} {self.kind:<7}{self.target:<18}{self.for_s:>9.2f} s{share}"


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    asks: tuple[Ask, ...]
    faults: tuple[Fault, ...]

    @property
    def replay(self) -> str:
        """The command that runs it again."""
        return f"make chaos SEED={self.seed} REQUESTS={len(self.asks)}"


STORE, TRAIL = "store", "postgres"
ROUTERS = ("router-1", "router-2", "leading router", "leading router")
MANAGERS = ("manager-1", "manager-2")
GATEWAYS = ("gateway-1", "gateway-2")
AUDITOR = "audit-logger"
PROXIED = ("router-2", "gateway-2", "n3", AUDITOR)
"""Whoever reaches the store through a network that can be cut."""

SERVICES = (*ROUTERS, *MANAGERS, *GATEWAYS, *NODES, AUDITOR)

SHARES: tuple[tuple[Kind, tuple[str, ...], int, tuple[float, float]], ...] = (
    (Kind.KILL, ROUTERS, 16, (0.0, 1.0)),
    (Kind.KILL, MANAGERS, 8, (0.0, 1.0)),
    (Kind.KILL, GATEWAYS, 14, (0.0, 0.5)),
    (Kind.KILL, NODES, 30, (0.0, 1.0)),
    (Kind.KILL, (AUDITOR,), 8, (0.0, 1.0)),
    (Kind.KILL, (STORE,), 9, (0.0, 0.4)),
    (Kind.KILL, (TRAIL,), 4, (0.0, 2.0)),
    (Kind.KILL, ENGINES, 16, (0.0, 1.0)),
    (Kind.FREEZE, ROUTERS, 12, (0.5, 2.5)),
    (Kind.FREEZE, MANAGERS, 5, (0.5, 2.5)),
    (Kind.FREEZE, GATEWAYS, 7, (0.3, 2.0)),
    (Kind.FREEZE, NODES, 20, (0.5, 4.0)),
    (Kind.FREEZE, (AUDITOR,), 4, (0.5, 3.0)),
    (Kind.FREEZE, (TRAIL,), 3, (0.5, 3.0)),
    (Kind.FREEZE, (STORE,), 5, (0.3, 2.5)),
    (Kind.FREEZE, ENGINES, 14, (0.5, 4.0)),
    (Kind.STOP, SERVICES, 12, (0.0, 0.5)),
    (Kind.LOSE, NODES, 10, (2.5, 4.0)),
    (Kind.CUT, PROXIED, 20, (0.3, 1.5)),
    (Kind.PART, PROXIED, 10, (0.3, 3.5)),
    (Kind.JUMP, (STORE,), 10, (-300.0, 300.0)),
)
"""Kind, targets, how many of 237 faults, and for how long in seconds."""

FULL_RUN = 10_000
LEAST_FAULTS = 200
"""That must have been carried out in a full run; in others the same share."""

REQUESTS_A_FAULT = 10_000 / 237
TWO_HOURS_S = 7200.0


def shortfall(requests: int, struck: Counter[str]) -> Iterator[str]:
    """What a run lacks of the faults, counted by sort, that make it worth its name."""
    least = requests * LEAST_FAULTS // FULL_RUN
    if struck.total() < least:
        yield f"{struck.total()} faults were carried out, of at least {least}"
    if requests >= FULL_RUN:
        for kind, targets, _, _ in SHARES:
            sorts = {f"{kind} {_sort(target)}" for target in targets}
            if not sorts & struck.keys():
                yield f"never carried out: {', '.join(sorted(sorts))}"


def _sort(target: str) -> str:
    if target in NODES:
        return "worker"
    return target.removeprefix("leading ").split("-")[0]


def plan(seed: int, requests: int) -> Plan:
    return Plan(
        seed,
        tuple(_asks(random.Random(f"{seed} asks"), requests)),
        tuple(_faults(random.Random(f"{seed} faults"), requests)),
    )


def _faults(choice: random.Random, requests: int) -> Iterator[Fault]:
    """Spread evenly, with jitter; the clock leaps once by two hours, in the second half."""
    number = max(len(SHARES), round(requests / REQUESTS_A_FAULT))
    pool = [row for row in SHARES for _ in range(row[2])]
    rows = [*SHARES, *choice.choices(pool, k=number - len(SHARES))]
    choice.shuffle(rows)
    leap = choice.randrange(number // 2, number)
    warm_up, pause = requests // 20, (requests * 0.9) / number
    for place, (kind, targets, _, (shortest_s, longest_s)) in enumerate(rows):
        at = warm_up + int(place * pause + choice.uniform(0, pause * 0.9))
        for_s = round(choice.uniform(shortest_s, longest_s), 2)
        share = round(choice.uniform(0.05, 0.3), 2) if kind is Kind.CUT else 0.0
        yield Fault(at, kind, choice.choice(targets), for_s, share)
        if place == leap:
            yield Fault(at, Kind.JUMP, STORE, TWO_HOURS_S)


MODELS = {
    "echo": 65,
    "slow": 10,
    REAL: 4,
    "task/crashing": 4,
    "task/hanging": 1,
    "task/stalling": 1,
    "task/failing": 3,
    "task/dropping": 3,
    "task/doubtful": 2,
    "crash": 1,
    "fail": 1,
    "nobody-has-this": 1,
    "task/rules": 2,
    "": 2,
}
WAYS = {Way.STREAM: 70, Way.FOREIGN: 2, Way.PLAIN: 16, Way.SSE: 9, Way.SUBMIT: 3}
PRIORITIES = {"CRITICAL": 5, "HIGH": 15, "NORMAL": 60, "LOW": 20}
LONG_MS = 300_000
"""No request comes near it unless something is stuck, or the clock jumps."""


def _asks(choice: random.Random, requests: int) -> Iterator[Ask]:
    for number in range(requests):
        way = _one_of(choice, WAYS)
        again = Again.NO
        if way is Way.STREAM:
            again = choice.choices((*Again,), (95, 4, 1))[0]
        cancel = choice.random() < 0.09
        yield Ask(
            number=number,
            way=way,
            model=_one_of(choice, MODELS),
            priority=_one_of(choice, PRIORITIES),
            deadline_ms=choice.randrange(50, 1500) if choice.random() < 0.06 else LONG_MS,
            chunks=choice.random() < 0.3,
            keyed=choice.random() < 0.6,
            gateway=choice.randrange(2),
            again=again,
            again_after=choice.randrange(40),
            cancel_after=choice.choice((-1, 0, 0, 0, 1, 1, 2, 3, 5, 10, 30)) if cancel else None,
            leaves_s=choice.uniform(0.0, 0.3) if choice.random() < 0.03 else None,
            padding=300_000 if choice.random() < 0.003 else choice.randrange(200),
        )


def _one_of(choice: random.Random, weights: dict[str, int]) -> str:
    return choice.choices((*weights,), (*weights.values(),))[0]
