"""Endpoints in roundhouse.yaml: what is refused, and what is found to make no sense."""

import pytest

from shared.config import Config, ConfigError, EndpointConfig, lint, parse_config
from shared.config.endpoints import RETRY_S

SECRET = "whsec_" + "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"


def endpoint(settings: str) -> str:
    return f"endpoints: {{n8n: {{{settings}}}}}"


def parsed(settings: str) -> EndpointConfig:
    return parse_config(endpoint(settings), "f").endpoints["n8n"]


def refused(settings: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parsed(settings)
    (line,) = str(caught.value).splitlines()
    return line.partition(": ")[2]


def found(settings: str, environment: dict[str, str] | None = None) -> list[tuple[str, str]]:
    config = parse_config(endpoint(settings), "f")
    return [(each.level, each.message) for each in lint(config, environment)]


GOOD = "url: 'https://example.org/hook', secret_env: S"
PRIVATE = "url: 'http://192.168.1.20:5678/webhook/x', secret_env: S"


def test_an_endpoint_needs_an_address_and_a_secret_and_has_defaults_for_the_rest() -> None:
    n8n = parsed(GOOD)

    assert len(n8n.events) == 5
    assert n8n.retry_s == RETRY_S
    assert (n8n.allow_private, n8n.tasks, n8n.dataclasses) == ((), (), None)
    assert (n8n.timeout_s, n8n.concurrency) == (15, 4)


def test_private_networks_are_false_or_a_list() -> None:
    assert parsed(f"{GOOD}, allow_private: false").allow_private == ()
    assert parsed(f"{GOOD}, allow_private: [10.0.0.1/8, '::1']").allow_private == (
        "10.0.0.0/8",
        "::1/128",
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            f"{GOOD}, events: [inference.complete]",
            "endpoints.n8n.events[0] has no such choice; did you mean 'inference.completed'?",
        ),
        (
            f"{GOOD}, allow_private: true",
            "endpoints.n8n.allow_private must be false or a list of networks, "
            "such as [192.168.1.20/32]",
        ),
        (
            f"{GOOD}, allow_private: [192.168.1]",
            "endpoints.n8n.allow_private[0] is not a network; write it like 192.168.1.20/32",
        ),
        (
            "url: 'https://u:p@example.org', secret_env: S",
            "endpoints.n8n.url must not carry a user or a password; "
            "the signature tells the receiver who calls",
        ),
        (
            "url: example.org, secret_env: S",
            "endpoints.n8n.url is not an address; write it like https://n8n.example.org/webhook/x",
        ),
        (
            "url: 'https://exämple.org', secret_env: S",
            "endpoints.n8n.url holds characters that no address has; "
            "encode them, or leave them out",
        ),
        (
            f"url: 'https://example.org', secret_env: {SECRET}=",
            "endpoints.n8n.secret_env is not the name of an environment variable; "
            "the secret itself never goes in here",
        ),
        (
            f"{GOOD}, timeout_s: 90",
            "endpoints.n8n.timeout_s must be at most 60; choose a smaller number",
        ),
        (
            f"{GOOD}, retry_s: [200000, 200000]",
            "endpoints.n8n.retry_s adds up to more than 80 hours, for which nothing is kept; "
            "choose shorter pauses",
        ),
        ("secret_env: S", "endpoints.n8n has no 'url'; add it"),
    ],
)
def test_a_mistake_is_told_with_a_remedy(settings: str, said: str) -> None:
    assert refused(settings) == said


def test_nothing_is_said_of_what_makes_sense() -> None:
    assert found(f"{GOOD}, tasks: [report]", {"S": f"{SECRET} {SECRET}"}) == []
    assert found(f"{PRIVATE}, allow_private: [192.168.1.0/24]", {"S": SECRET}) == []
    assert found("url: 'https://93.184.216.34/', secret_env: S") == []


@pytest.mark.parametrize(
    ("settings", "level", "said"),
    [
        (f"{GOOD}, events: []", "error", "n8n hears of nothing"),
        (f"{GOOD}, tasks: [rapport]", "warning", "did you mean 'report'?"),
        (PRIVATE, "error", "if it is meant, add allow_private: [192.168.1.20/32]"),
        (
            "url: 'http://169.254.169.254/', secret_env: S, allow_private: [169.254.0.0/16]",
            "error",
            "choose another receiver",
        ),
        ("url: 'http://[::1]:1/', secret_env: S", "error", "allow_private: [::1/128]"),
        ("url: 'http://127.1/', secret_env: S", "error", "odd spelling of an address"),
        ("url: 'http://example.org/', secret_env: S", "warning", "use https"),
        ("url: 'http://93.184.216.34/', secret_env: S", "warning", "use https"),
    ],
)
def test_what_cannot_be_meant_is_found(settings: str, level: str, said: str) -> None:
    ((found_level, message),) = found(settings)

    assert found_level == level
    assert said in message


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "S is not set here"),
        ({"S": " "}, "S is not set here"),
        ({"S": "hunter2"}, "S is no signing secret"),
    ],
)
def test_a_secret_that_is_missing_or_none_is_found_and_never_shown(
    environment: dict[str, str], said: str
) -> None:
    ((level, message),) = found(GOOD, environment)

    assert level == "warning"
    assert said in message
    assert "hunter2" not in message


def test_secrets_are_looked_for_only_where_there_is_somewhere_to_look() -> None:
    assert found(GOOD) == []
    assert lint(Config(), {}) == []
