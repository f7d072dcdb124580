"""Which addresses may be called: none that is not public, unless somebody says so."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.config.addresses import NAT64, address_in, can_be_allowed, objection, parsed

EVERYTHING = ("0.0.0.0/0", "::/0")

SPECIAL = [
    *("127.0.0.1", "127.255.255.254", "::1", "10.0.0.1", "10.255.255.255", "172.16.0.1"),
    *("172.31.255.255", "192.168.1.20", "100.64.0.1", "100.127.255.255", "169.254.1.1"),
    *("192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1"),
    *(
        "fe80::1",
        "fec0::1",
        "fc00::1",
        "fd12:3456::1",
        "2001:db8::1",
        "2001:2::1",
        "2002:102:304::1",
    ),
    *("::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "2002:7f00:1::"),
    *("64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1", "100::1", "3fff::1", "4000::1"),
]
NEVER = [
    *("0.0.0.0", "0.1.2.3", "::", "224.0.0.1", "239.255.255.250", "ff02::1", "240.0.0.1"),
    *("255.255.255.255", "169.254.169.254", "169.254.170.2", "100.100.100.200"),
    *("168.63.129.16", "fd00:ec2::254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"),
    *("2002:a9fe:a9fe::", "::169.254.169.254", "::ffff:0.0.0.0"),
]
PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "100.63.255.255",
    "172.32.0.1",
    "2606:4700::1111",
    "64:ff9b::808:808",
]


@pytest.mark.parametrize("text", [*SPECIAL, *NEVER])
def test_a_special_address_is_not_called(text: str) -> None:
    assert objection(parsed(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_is_called(text: str) -> None:
    assert objection(parsed(text)) is None


@pytest.mark.parametrize("text", SPECIAL)
def test_a_special_address_is_called_where_its_network_is_allowed(text: str) -> None:
    behind_nat64 = parsed(text) in NAT64

    assert objection(parsed(text), EVERYTHING) is None or behind_nat64
    assert can_be_allowed(parsed(text))


@pytest.mark.parametrize("text", NEVER)
def test_nothing_allows_an_address_that_hands_out_credentials_or_is_none(text: str) -> None:
    assert objection(parsed(text), EVERYTHING)
    assert not can_be_allowed(parsed(text))


def test_allowing_one_network_allows_no_other() -> None:
    assert objection(parsed("192.168.1.20"), ("192.168.1.20/32",)) is None
    assert objection(parsed("192.168.1.21"), ("192.168.1.20/32",)) == "private"
    assert objection(parsed("::ffff:192.168.1.20"), ("192.168.1.20/32",))


def test_a_zone_does_not_hide_an_address() -> None:
    assert objection(parsed("fe80::1%eth0")) == "link-local"


ADDRESSES = st.one_of(
    st.ip_addresses(v=4), st.ip_addresses(v=6), st.sampled_from([*SPECIAL, *NEVER]).map(ip_address)
)


@given(ADDRESSES)
def test_whatever_python_knows_to_be_special_is_refused(
    address: IPv4Address | IPv6Address,
) -> None:
    if not address.is_global or address.is_multicast or address.is_reserved:
        assert objection(address) or address in NAT64


@pytest.mark.parametrize(
    "host",
    [
        *("127.1", "2130706433", "017700000001", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1"),
        *("127.0.0.01", "1.2.3.4.", "127.0.0.1.5", "256.1.1.1", "foo.123", "foo.0x7f", "::g"),
    ],
)
def test_an_odd_spelling_of_an_address_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        address_in(host)


@pytest.mark.parametrize("host", ["example.org", "n8n", "1e100.net", "a.0xzz", "x1", "localhost"])
def test_a_name_is_no_address(host: str) -> None:
    assert address_in(host) is None


def test_a_plain_spelling_is_read() -> None:
    assert address_in("192.168.1.20") == IPv4Address("192.168.1.20")
    assert address_in("fd00::1") == IPv6Address("fd00::1")
