"""For whom this process answers: the names it is known by.

A page that somebody else serves can make a browser ask us under a name of its own, once that name's address has been
changed to ours; the browser then takes us for that site. So a name must be one that we know: PUBLIC_URL's and those of
the other services, what the socket is bound to, this machine's, the services' own (as a compose file calls them), what
FLYWHEEL_ALLOWED_HOSTS adds, and whatever can never be a name in the public DNS. An address in digits is nobody's name.
The port says nothing: a proxy or a published port may change it.
"""

import re
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from shared.web.framing import bad_framing
from shared.web.problems import Problem

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""Who watches us knows us by whatever address it found; nothing here is anybody's."""
OPEN_PREFIX: Final = "/v1/webhooks/"
"""A signature says who asks, and no browser is trusted here for where it is; a tunnel may give us any name."""
ALWAYS: Final = ("localhost", "flywheel")
NEVER_PUBLIC: Final = (".localhost", ".internal", ".svc", ".cluster.local")
MAX_REMEMBERED = 1_000

_HOST = re.compile(r"(?:\[([^\]]+)\]|([^:\[\]]+))(?::\d{0,5})?")


def is_open(path: str) -> bool:
    """Whether it is served under whatever name."""
    return path in OPEN_PATHS or path.startswith(OPEN_PREFIX)


class Hosts:
    """`value in hosts` for the raw value of a Host header. Names are without port; `.example.com` is the domain with all
    below it, `*` is any."""

    def __init__(self, names: Iterable[str]) -> None:
        known = {_plain(name) for name in (*ALWAYS, *names) if name}
        self._any = "*" in known
        self._names = frozenset(known)
        self._suffixes = (*NEVER_PUBLIC, *(name for name in known if name.startswith(".")))
        self._seen: set[bytes] = set()

    def __contains__(self, value: bytes) -> bool:
        if value in self._seen:
            return True
        if not self._admits(value):
            return False
        if len(self._seen) < MAX_REMEMBERED:
            self._seen.add(value)
        return True

    def _admits(self, value: bytes) -> bool:
        if self._any:
            return True
        match = _HOST.fullmatch(value.decode("latin-1"))
        if match is None:
            return False
        bracketed, name = match.groups()
        if _is_address(bracketed or name):
            return True
        if bracketed:
            return False
        name = _plain(name)
        return name in self._names or f".{name}" in self._names or name.endswith(self._suffixes)


def host_of(url: str) -> str:
    """The name in an address, as a Host header has it; empty where there is none."""
    try:
        name = urlsplit(url).hostname or ""
        return name if name.isascii() else name.encode("idna").decode()
    except ValueError:  # UnicodeError is one
        return ""


def misdirected() -> Problem:
    detail = "PUBLIC_URL and FLYWHEEL_ALLOWED_HOSTS (names, separated by commas) say which names are."
    return bad_framing(f"This host is not served here: {detail}")


def _plain(name: str) -> str:
    return name.strip().lower().removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ip_address(name.replace("%25", "%"))
    except ValueError:
        return False
    return True
