"""Which addresses on the network may be called from here. Pure.

After IANA's registries of special-purpose addresses. Written out, because what `ipaddress` calls
global differs between releases of Python.
"""

from collections.abc import Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

NEVER: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(network), what)
    for network, what in (
        ("169.254.169.254/32", "a cloud's metadata service, which hands out credentials"),
        ("169.254.170.2/32", "a cloud's metadata service, which hands out credentials"),
        ("169.254.170.23/32", "a cloud's metadata service, which hands out credentials"),
        ("fd00:ec2::23/128", "a cloud's metadata service, which hands out credentials"),
        ("100.100.100.200/32", "a cloud's metadata service, which hands out credentials"),
        ("168.63.129.16/32", "a cloud's metadata service, which hands out credentials"),
        ("fd00:ec2::254/128", "a cloud's metadata service, which hands out credentials"),
        ("fd20:ce::254/128", "a cloud's metadata service, which hands out credentials"),
        ("0.0.0.0/8", "no address of a receiver"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "no address of a receiver"),
        ("ff00::/8", "multicast"),
    )
)
"""Refused whatever the configuration says."""

NOT_PUBLIC: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(network), what)
    for network, what in (
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "a provider's own (CGNAT)"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "for documentation"),
        ("192.88.99.0/24", "reserved"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("::1/128", "loopback"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("2001::/23", "reserved"),
        ("2001:db8::/32", "for documentation"),
        ("2002::/16", "an IPv4 address in disguise (6to4)"),
        ("3fff::/20", "for documentation"),
    )
)

GLOBAL_IPV6 = IPv6Network("2000::/3")
"""All that is handed out for public use so far."""

NAT64 = IPv6Network("64:ff9b::/96")
"""How a network without IPv4 reaches it: the last four bytes are the receiver's real address."""


def address_in(host: str) -> Address | None:
    """The address that `host` spells out; None for a name. Raise `ValueError` for odd spellings.

    What ends in a number is an address to any resolver, also `127.1` or `0x7f000001`.
    """
    if ":" in host:
        return IPv6Address(host)
    last = host.rstrip(".").rpartition(".")[2].lower()
    if last.isdigit() or (last.startswith("0x") and all(c in "0123456789abcdef" for c in last[2:])):
        return IPv4Address(host)
    return None


def objection(address: Address, allowed: Sequence[str] = ()) -> str | None:
    """What stands against calling this address, in words; None where nothing does.

    `allowed` names networks that may be called although they are not public.
    """
    behind = _behind(address)
    for each in (address, *behind):
        if what := _in(each, NEVER):
            return what
    if is_covered(address, allowed):
        return None
    if behind and address not in NAT64:
        return "an IPv4 address in disguise"
    return next((what for each in (address, *behind) if (what := _not_public(each))), None)


def can_be_allowed(address: Address) -> bool:
    """Whether `allow_private` could make it callable."""
    return not any(_in(each, NEVER) for each in (address, *_behind(address)))


def is_covered(address: Address, networks: Sequence[str]) -> bool:
    """Whether one of the networks holds the address."""
    return any(address in ip_network(network) for network in networks)


def parsed(text: str) -> Address:
    """An address as a resolver gives it; a zone (`%eth0`) is left out."""
    return ip_address(text.partition("%")[0])


def _behind(address: Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses that an IPv6 address stands for."""
    if isinstance(address, IPv4Address):
        return ()
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    if address.teredo is not None:
        return address.teredo
    low = int(address) & 0xFFFF_FFFF
    if address in NAT64 or (low > 0xFFFF and int(address) == low):
        return (IPv4Address(low),)
    return ()


def _not_public(address: Address) -> str | None:
    if what := _in(address, NOT_PUBLIC):
        return what
    strange = isinstance(address, IPv6Address) and address not in GLOBAL_IPV6
    return "reserved" if strange and address not in NAT64 else None


def _in(address: Address, networks: Sequence[tuple[Network, str]]) -> str | None:
    return next((what for network, what in networks if address in network), None)
