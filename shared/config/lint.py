"""What a well-formed configuration means that nobody can have wanted. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from shared.config.addresses import address_in, can_be_allowed, objection
from shared.config.document import Path
from shared.config.endpoints import EndpointConfig, signing_keys
from shared.config.models import ANY, HEURISTIC_PREFIX, TINY, Config
from shared.config.parse import suggestion

LOOPBACK = {"127.0.0.1", "localhost", "::1"}


@dataclass(frozen=True, slots=True)
class Finding:
    """`error`: cannot work as written. `warning`: works, but perhaps not as meant."""

    level: Literal["error", "warning"]
    where: Path
    message: str


def lint(config: Config, environment: Mapping[str, str] | None = None) -> list[Finding]:
    """Everything suspicious in the configuration, in the order of the file's sections.

    `environment` is where the secrets are that it names; None: they are not looked for.
    """
    checks = (_engines, _pins, _heuristics, _chains, _contexts, _default_task, _timing, _endpoints)
    findings = [finding for check in checks for finding in check(config)]
    return findings + ([] if environment is None else [*_secrets(config, environment)])


def _engines(config: Config) -> Iterator[Finding]:
    seen: dict[tuple[str, str | None, int | None], str] = {}
    for node, settings in config.nodes.items():
        for position, engine in enumerate(settings.engines):
            parts = urlsplit(engine.url)
            local = parts.hostname in LOOPBACK
            key = (node, "loopback", parts.port) if local else ("", parts.hostname, parts.port)
            other = seen.setdefault(key, f"nodes.{node}.engines[{position}]")
            if other != f"nodes.{node}.engines[{position}]":
                yield Finding(
                    "error",
                    ("nodes", node, "engines", position, "url"),
                    f"{engine.url} is already {other}; its slots and memory would count twice, "
                    "so remove one of them",
                )


def _pins(config: Config) -> Iterator[Finding]:
    budgets = [settings.memory_mib for settings in config.nodes.values()]
    known = [budget for budget in budgets if budget is not None]
    if not known or len(known) < len(budgets):
        return
    pinned = {
        name: model.need_mib
        for name, model in config.models.items()
        if model.pinned and model.need_mib is not None
    }
    too_large = [name for name, need_mib in pinned.items() if need_mib > max(known)]
    for name in too_large:
        yield Finding(
            "error",
            ("models", name, "pinned"),
            f"{name} needs {pinned[name]} MiB and no node has more than {max(known)} MiB; "
            "unpin it, or raise a node's memory_mib",
        )
    if not too_large and sum(pinned.values()) > sum(known):
        yield Finding(
            "error",
            ("models",),
            f"the pinned models need {sum(pinned.values())} MiB together and all nodes have "
            f"{sum(known)} MiB; unpin some",
        )


def _heuristics(config: Config) -> Iterator[Finding]:
    for name, heuristic in config.heuristics.items():
        if not heuristic.rules:
            yield Finding(
                "error",
                ("heuristics", name, "rules"),
                f"{name} has no rules and would always answer {heuristic.default!r}; add one",
            )
        for position, rule in enumerate(heuristic.rules):
            if not rule.any_of:
                yield Finding(
                    "error",
                    ("heuristics", name, "rules", position, "any_of"),
                    f"the rule for {rule.label!r} has no words and never matches; add some",
                )


def _chains(config: Config) -> Iterator[Finding]:
    for task, settings in config.tasks.items():
        where: Path = ("tasks", task, "chain")
        if not settings.chain:
            yield Finding("error", where, f"{task} has no candidates; name one, such as {ANY!r}")
        for position, entry in enumerate(settings.chain):
            finding = _candidate(config, task, entry, (*where, position))
            if finding:
                yield finding


def _candidate(config: Config, task: str, entry: str, where: Path) -> Finding | None:
    if entry in (ANY, TINY):
        return None
    if entry.startswith(HEURISTIC_PREFIX):
        known = [HEURISTIC_PREFIX + name for name in config.heuristics]
        if entry in known:
            return None
        return Finding("error", where, f"{entry} is not configured; {suggestion(entry, known)}")
    if entry not in config.models:
        todo = suggestion(entry, config.models) if config.models else "check its name"
        message = f"no model {entry!r} is configured, so a node's engine has to offer it; {todo}"
        return Finding("warning", where, message)
    operation = config.tasks[task].operation
    if operation in config.models[entry].operations:
        return None
    message = f"{entry} cannot do {operation}, which {task} asks for; add it to its operations"
    return Finding("error", where, message)


def _contexts(config: Config) -> Iterator[Finding]:
    for task, settings in config.tasks.items():
        first, *fallbacks = settings.chain or ("",)
        if first not in config.models:
            continue
        full_tokens = config.models[first].context_tokens
        for position, entry in enumerate(fallbacks, start=1):
            fallback = config.models.get(entry)
            if fallback and fallback.context_tokens < full_tokens:
                yield Finding(
                    "warning",
                    ("tasks", task, "chain", position),
                    f"{entry} holds {fallback.context_tokens} tokens and {first}, which it "
                    f"stands in for, {full_tokens}; raise its context_tokens",
                )


def _default_task(config: Config) -> Iterator[Finding]:
    if config.default_task not in config.tasks:
        todo = suggestion(config.default_task, config.tasks)
        message = f"there is no task {config.default_task!r}; {todo}"
        yield Finding("error", ("default_task",), message)


def _timing(config: Config) -> Iterator[Finding]:
    timing = config.timing
    if timing.heartbeat_s >= timing.node_lost_s:
        yield Finding(
            "error",
            ("timing", "heartbeat_s"),
            f"a node beats every {timing.heartbeat_s:g} s and is lost after "
            f"{timing.node_lost_s:g} s of silence; make node_lost_s two or three beats long",
        )
    renewals = (
        ("flight_beat_s", timing.flight_beat_s, "flight_lease_s", timing.flight_lease_s),
        ("router_renew_s", timing.router_renew_s, "router_lease_s", timing.router_lease_s),
        ("claim_beat_s", timing.claim_beat_s, "claim_idle_s", timing.claim_idle_s),
    )
    for renewal, every_s, lease, lease_s in renewals:
        if every_s > lease_s / 2:
            yield Finding(
                "error",
                ("timing", renewal),
                f"{every_s:g} s leaves no second try before {lease} ({lease_s:g} s) is over; "
                f"make it at most {lease_s / 2:g}",
            )


def _endpoints(config: Config) -> Iterator[Finding]:
    for name, endpoint in config.endpoints.items():
        where: Path = ("endpoints", name)
        if not endpoint.events:
            message = f"{name} hears of nothing; name its events or leave the key out"
            yield Finding("error", (*where, "events"), message)
        for position, task in enumerate(endpoint.tasks):
            if task not in config.tasks:
                message = f"there is no task {task!r}; {suggestion(task, config.tasks)}"
                yield Finding("warning", (*where, "tasks", position), message)
        if finding := _receiver(name, endpoint):
            yield finding


def _receiver(name: str, endpoint: EndpointConfig) -> Finding | None:
    """A name's address is looked up and checked at each attempt; here, only what is written."""
    where: Path = ("endpoints", name, "url")
    parts = urlsplit(endpoint.url)
    host = parts.hostname or ""
    try:
        address = address_in(host)
    except ValueError:
        message = f"{host} is an odd spelling of an address; write all four numbers of it"
        return Finding("error", where, message)
    what = address and objection(address, endpoint.allow_private)
    if address is not None and what:
        todo = "choose another receiver"
        if can_be_allowed(address):
            todo = f"if it is meant, add allow_private: [{address}/{address.max_prefixlen}]"
        return Finding("error", where, f"{host} is {what} and will not be called; {todo}")
    if parts.scheme == "http" and not endpoint.allow_private:
        return Finding(
            "warning",
            where,
            "http shows everybody on the way what it carries; use https, "
            "or name the receiver's network in allow_private",
        )
    return None


def _secrets(config: Config, environment: Mapping[str, str]) -> Iterator[Finding]:
    for name, endpoint in config.endpoints.items():
        try:
            signing_keys(environment.get(endpoint.secret_env, ""))
        except ValueError as error:
            message = f"{endpoint.secret_env} {error}"
            yield Finding("warning", ("endpoints", name, "secret_env"), message)
