"""What one request may look like, and the answers to those that do not. The connection itself is `protocol`.

Refused is what two parsers could read in two ways: a proxy and we would see two different requests.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import unquote

import httptools

from shared.web.problems import Problem, malformed

METHODS: Final = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
MAX_CONNECTIONS = 10_000
KEPT_TARGETS = 256
KEPT_TARGET_MAX_BYTES = 64

_HOST = re.compile(rb"[A-Za-z0-9._~%!$&'()*+,;=:\[\]-]+")
_METHOD_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64} [/*h]")
_ENCODED_SEPARATOR = re.compile(rb"%(?:2[fF]|5[cC]|00)")
_DOT_SEGMENT = re.compile(rb"/(?:\.|%2[eE]){1,2}(?:/|$)")


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how much. With a sweep twice a second, what is at 7 s here ends by 8, what is at 27 by 28."""

    idle_s: float = 7.0
    header_s: float = 7.0
    body_s: float = 27.0
    body_min_bytes_per_s: int = 16 * 1024
    write_s: float = 27.0
    linger_s: float = 1.0
    last_word_s: float = 0.3
    """How long a silent connection is still listened to when the process stops."""
    sweep_s: float = 0.5
    max_header_bytes: int = 16 * 1024
    max_headers: int = 100
    max_requests: int = 4096
    """In hand at once, in this process; more are told 503."""
    max_connections: int = MAX_CONNECTIONS
    """Above it, each new one ends an idle one."""
    allowed_hosts: frozenset[bytes] | None = None
    """Lower case, with the port where there is one. None: any."""


class Refused(Exception):
    """Raised in a parser's callback; the parser hands it back as the context of its own error."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.slug)
        self.problem = problem


def problem_of(error: httptools.HttpParserError, first_bytes: bytes) -> Problem:
    cause = error.__context__
    if isinstance(cause, Refused):
        return cause.problem
    if isinstance(error, httptools.HttpParserInvalidMethodError) and _METHOD_LINE.match(first_bytes):
        return method_not_allowed()
    return bad_framing("This is not a request that can be read in one way only.")


def check_address(url: bytes) -> None:
    """Raises where a proxy and our router could see two different paths."""
    path = url.split(b"?", 1)[0]
    if path[:1] != b"/":
        raise Refused(malformed("The address must be a path."))
    if b"//" in path or _ENCODED_SEPARATOR.search(path) or _DOT_SEGMENT.search(path):
        raise Refused(malformed("The address holds an empty or dotted segment, or an encoded separator."))


class Target(NamedTuple):
    path: str
    """Decoded."""
    raw_path: bytes
    query: bytes


def target_of(url: bytes) -> Target:
    """A request target that `check_address` let pass."""
    return _kept_target(url) if len(url) <= KEPT_TARGET_MAX_BYTES else _target(url)


def _target(url: bytes) -> Target:
    parsed = httptools.parse_url(url)
    path = parsed.path.decode("ascii")
    return Target(unquote(path) if "%" in path else path, parsed.path, parsed.query or b"")


# The busiest addresses are few and short.
_kept_target = lru_cache(maxsize=KEPT_TARGETS)(_target)


def bad_framing(detail: str) -> Problem:
    return Problem(400, "bad-framing", "The request could not be told apart from another.", detail)


def method_not_allowed() -> Problem:
    allow = ", ".join(sorted(method.decode() for method in METHODS))
    return Problem(405, "method-not-allowed", "This method is not allowed here.", headers={"Allow": allow})


def headers_too_large(limits: Limits) -> Problem:
    return Problem(
        431,
        "headers-too-large",
        "The header fields are too large.",
        f"At most {limits.max_headers} fields and {limits.max_header_bytes:,} bytes with the address.",
    )


def check_host(value: bytes, hosts: int, allowed: frozenset[bytes] | None) -> None:
    """`hosts`: how many Host fields there are so far."""
    if hosts > 1 or not _HOST.fullmatch(value):
        raise Refused(no_host())
    if allowed is not None and value.lower() not in allowed:
        raise Refused(bad_framing("This host is not served here."))


def no_host() -> Problem:
    return bad_framing("There must be one Host header, and it must name a host.")
