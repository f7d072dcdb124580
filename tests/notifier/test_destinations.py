"""What may go where: addresses, and how sensitive the data is."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifier.destinations import refusal
from shared.config import EndpointConfig

PUBLIC, PRIVATE = "93.184.216.34", "192.168.1.20"
ALLOWED = {"allow_private": ["192.168.0.0/16"]}


def why_not(
    *addresses: str, dataclass: str | None = "internal", **settings: Any
) -> tuple[str, str] | None:
    endpoint = EndpointConfig(url="https://host.example", secret_env="S", **settings)
    found = refusal("n8n", endpoint, "host.example", addresses, dataclass)
    return None if found is None else (found.reason, found.message)


def test_a_private_address_is_refused_with_the_line_that_would_allow_it() -> None:
    assert why_not(PRIVATE) == (
        "forbidden",
        "host.example is 192.168.1.20, private; "
        "if it is meant, add allow_private: [192.168.1.20/32] to endpoints.n8n",
    )
    assert "[fd00::1/128]" in (why_not("fd00::1") or ("", ""))[1]


def test_what_nothing_can_allow_is_not_said_to_be_allowable() -> None:
    for settings in ({}, {"allow_private": ["0.0.0.0/0", "::/0"]}):
        reason, message = why_not("169.254.169.254", **settings) or ("", "")
        assert reason == "forbidden"
        assert "allow_private" not in message


def test_one_forbidden_address_among_good_ones_is_enough() -> None:
    assert why_not(PUBLIC) is None
    assert why_not(PUBLIC, PRIVATE) is not None
    assert why_not(PRIVATE, PUBLIC) is not None


@pytest.mark.parametrize(
    ("dataclass", "address", "settings", "goes"),
    [
        ("public", PUBLIC, {}, True),
        ("internal", PUBLIC, {}, True),
        ("confidential", PUBLIC, {}, False),
        ("restricted", PUBLIC, {}, False),
        ("Internal", PUBLIC, {}, False),
        ("whatever", PUBLIC, {}, False),
        ("restricted", PRIVATE, ALLOWED, True),
        ("whatever", PRIVATE, ALLOWED, True),
        ("confidential", PUBLIC, ALLOWED, False),
        ("confidential", PUBLIC, {"dataclasses": ["confidential"]}, True),
        ("internal", PUBLIC, {"dataclasses": ["confidential"]}, False),
        ("restricted", PRIVATE, {**ALLOWED, "dataclasses": ["internal"]}, False),
        ("internal", PRIVATE, {**ALLOWED, "dataclasses": []}, False),
        (None, PUBLIC, {"dataclasses": ["confidential"]}, True),
    ],
)
def test_the_data_class_decides_what_leaves(
    dataclass: str | None, address: str, settings: dict[str, Any], goes: bool
) -> None:
    refused = why_not(address, dataclass=dataclass, **settings)

    assert (refused is None) is goes
    assert goes or (refused or ("", ""))[0] == "withheld"


def test_a_name_that_leads_inside_and_outside_gets_only_what_may_leave() -> None:
    reason, message = why_not(PRIVATE, PUBLIC, dataclass="restricted", **ALLOWED) or ("", "")

    assert reason == "withheld"
    assert "list restricted in endpoints.n8n.dataclasses" in message


@given(st.ip_addresses().map(str), st.sampled_from(["confidential", "restricted", "secret"]))
def test_sensitive_data_never_go_to_an_address_that_nobody_allowed(
    address: str, dataclass: str
) -> None:
    assert why_not(address, dataclass=dataclass) is not None
