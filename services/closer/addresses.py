"""Where a configuration may send us, and where not. ●

Whoever edits teams.yaml, or the DNS of a name in it, must not make us ask what only we can reach: this machine, its
network, the cloud's metadata. An address is public only if it is plainly one, by IANA's registries of special ones;
Python's `is_global` alone lets multicast, NAT64, 6to4 and others through. `CLOSER_WEBHOOK_ALLOW` names what an operator
wants reached all the same: hosts (`hooks.corp.example`, `.corp.example` with all below it), addresses, networks.

What an address looks like is judged as it is written; what a name leads to, when it is connected to (`outbound`).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from shared.errors import Misuse

ALLOW = "CLOSER_WEBHOOK_ALLOW"
PORTS = frozenset({443, 8443})
"""Of hosts that nobody has allowed by name: a signed POST has no business with a mail server or a database."""
MAX_URL_CHARS = 2048

_NEVER_V4 = tuple(ip_network(one) for one in ("192.0.0.0/24", "192.88.99.0/24", "224.0.0.0/4", "240.0.0.0/4"))
_GLOBAL_V6 = ip_network("2000::/3")
"""All that is given out for the public network; what stands outside of it translates, maps or stays within."""
_NEVER_V6 = tuple(ip_network(one) for one in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
_PLAIN = re.compile(r"[!-~]+")
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")
_LIKE_A_NUMBER = re.compile(r"(.*\.)?(\d+|0x[0-9a-f]*)")
"""What resolvers take for an address in another spelling: `127.1`, `0x7f000001`, `2130706433`."""

Address = IPv4Address | IPv6Address


def is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        return address in _GLOBAL_V6 and address.is_global and not any(address in one for one in _NEVER_V6)
    return address.is_global and not any(address in one for one in _NEVER_V4)


@dataclass(frozen=True, slots=True)
class Allowed:
    """What may be reached although it is not public."""

    names: frozenset[str] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def read(cls, text: str) -> "Allowed":
        """Raises `Misuse`."""
        names: set[str] = set()
        networks: list[IPv4Network | IPv6Network] = []
        for entry in filter(None, (part.strip().lower() for part in text.split(","))):
            try:
                networks.append(ip_network(entry.strip("[]")))
            except ValueError:
                if _LIKE_A_NUMBER.fullmatch(entry) or not _NAME.fullmatch(entry.removeprefix(".")):
                    raise Misuse(
                        f"{ALLOW}: {entry!r} is neither a host, an address nor a network: write names and networks"
                        " with commas, such as hooks.corp.example,.internal.example,10.1.0.0/16"
                    ) from None
                names.add(entry)
        return cls(frozenset(names), tuple(networks))

    def has_name(self, host: str) -> bool:
        parents = (f".{host.split('.', n)[-1]}" for n in range(host.count(".") + 1))
        return host in self.names or any(parent in self.names for parent in parents)

    def has_address(self, address: Address) -> bool:
        mapped = getattr(address, "ipv4_mapped", None)
        return any(one in network for one in (address, mapped) if one is not None for network in self.networks)


NOTHING = Allowed()


def may_connect(host: str, addresses: Iterable[str], allowed: Allowed) -> str | None:
    """The first of a host's addresses that may not be connected to; None: all of them may. One bad one spoils the rest:
    which of them is taken is nobody's to choose."""
    if allowed.has_name(host):
        return None
    for text in addresses:
        address = ip_address(text)
        if not is_public(address) and not allowed.has_address(address):
            return text
    return None


def url_issue(url: str, allowed: Allowed | None) -> str | None:
    """Why nothing is sent to that address; None: it may be tried. `allowed` None: what is allowed is known elsewhere, and
    what it could allow is not judged."""
    if not _PLAIN.fullmatch(url) or "\\" in url or len(url) > MAX_URL_CHARS:
        return "is no address: write it in plain ASCII (a name as xn--…, a space as %20)"
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").removesuffix("."), parts.port
        literal = _literal(host, bracketed="[" in parts.netloc)
    except ValueError:
        return "is no address"
    if parts.scheme not in ("http", "https"):
        return "must begin with https://"
    if "@" in parts.netloc:
        return "must hold no name or password: the signature says who sends"
    if "#" in url:
        return "must hold no #: what follows it is never sent"
    if literal is None and (_LIKE_A_NUMBER.fullmatch(host) or not _NAME.fullmatch(host)):
        return "has no host: write a name, or an address in its usual form"
    if allowed is None:
        return None
    return _unless_allowed(parts.scheme, host, port, literal, allowed)


def _unless_allowed(scheme: str, host: str, port: int | None, literal: Address | None, allowed: Allowed) -> str | None:
    if allowed.has_name(host) or (literal is not None and allowed.has_address(literal)):
        return None
    if literal is not None and not is_public(literal):
        return f"is no public address; an operator allows it by {ALLOW}={host}"
    if literal is None and "." not in host:
        return f"is a name of this network alone; an operator allows it by {ALLOW}={host}"
    if scheme == "http":
        return f"must begin with https://; an operator allows http within a network by {ALLOW}={host}"
    if port not in (None, *PORTS):
        return f"names port {port}: 443 or 8443, unless an operator allows the host by {ALLOW}={host}"
    return None


def _literal(host: str, *, bracketed: bool) -> Address | None:
    """Raises ValueError for what stands in brackets and is no address, or one of a single link."""
    try:
        found = ip_address(host)
    except ValueError:
        if bracketed:
            raise
        return None
    if getattr(found, "scope_id", None) is not None:
        raise ValueError("an address of one link")
    return found
