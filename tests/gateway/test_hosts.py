"""Names under which the gateway may be addressed, and where it may be bound."""

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.gateway.hosts import Hosts
from services.gateway.settings import Settings


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8080",
        "LOCALHOST.",
        "127.0.0.1:1",
        "[::1]",
        "[::1]:8080",
        "127.0.0.1",
    ],
)
def test_this_machine_is_always_itself(host: str) -> None:
    assert Hosts("127.0.0.1").includes(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "192.168.0.7",
        "0.0.0.0",
        "[",
    ],
)
def test_a_foreign_name_is_foreign(host: str) -> None:
    assert not Hosts("127.0.0.1").includes(host)


@given(st.text())
def test_no_host_header_is_too_odd_to_judge(host: str) -> None:
    assert Hosts("::1").includes(host) in (True, False)


def test_a_name_can_be_added_or_all_of_them() -> None:
    assert Hosts("127.0.0.1", ("ai.example.org",)).includes("AI.example.org:443")
    assert not Hosts("127.0.0.1", ("ai.example.org",)).includes("www.example.org")
    assert Hosts("127.0.0.1", ("*",)).includes("www.example.org")


def test_bound_to_the_network_it_answers_to_addresses_which_nobody_can_rebind() -> None:
    hosts = Hosts("0.0.0.0")

    assert hosts.includes("192.168.0.7:8080")
    assert hosts.includes("[fe80::1]:8080")
    assert not hosts.includes("evil.example")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "example.org", ""])
def test_without_keys_it_refuses_to_serve_others_than_this_machine(host: str) -> None:
    with pytest.raises(ValidationError, match=r"reverse\s+proxy.*ROUNDHOUSE_ALLOW_REMOTE=1"):
        Settings(host=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "::1"])
def test_it_serves_this_machine_without_further_ado(host: str) -> None:
    assert Settings(host=host).host == host


def test_the_environment_can_say_that_a_proxy_stands_in_front(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ROUNDHOUSE_HOST", "0.0.0.0")
    monkeypatch.setenv("ROUNDHOUSE_ALLOW_REMOTE", "1")
    monkeypatch.setenv("ROUNDHOUSE_ALLOWED_HOSTS", "ai.example.org, ai.local")

    settings = Settings()

    assert settings.host == "0.0.0.0"
    assert settings.allowed_hosts == ("ai.example.org", "ai.local")
    assert settings.port == 8080


def test_a_mistake_in_the_environment_is_one_clear_line() -> None:
    environment = {**os.environ, "ROUNDHOUSE_HOST": "0.0.0.0", "ROUNDHOUSE_PORT": "high"}

    process = subprocess.run(
        [sys.executable, "-m", "services.gateway"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert process.returncode == 1
    assert process.stderr.startswith("gateway: port Input should be a valid integer")
    assert "Traceback" not in process.stderr
