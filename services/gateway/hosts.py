"""Which names in the Host header are ours: a web page that rebinds its own name to this machine's
address would otherwise reach the gateway from any browser here. Pure."""

from ipaddress import ip_address

from services.gateway.settings import is_loopback

ANY = "*"
_OWN_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class Hosts:
    """The names under which the gateway, bound to `bound`, may be addressed.

    Bound to more than this machine, it also answers to any literal address: none of them can be
    rebound, and probes use them.
    """

    def __init__(self, bound: str, further: tuple[str, ...] = ()) -> None:
        self._names = _OWN_NAMES | {_name(bound)} | {_name(each) for each in further}
        self._addresses = not is_loopback(bound)

    def includes(self, header: str) -> bool:
        """Whether the value of a Host header, with or without a port, is one of ours."""
        name = _name(header)
        if name in self._names or ANY in self._names:
            return True
        return self._addresses and _is_address(name)


def _name(host: str) -> str:
    """The host without brackets, port, final dot and capitals."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    if host.count(":") > 1:
        return host
    return host.partition(":")[0].removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
