"""Accept-Language (RFC 9110 §12.5.4) → the tags that somebody likes, the most liked first. ●"""

import re

TAGS_MAX = 20
_WEIGHT = re.compile(r"\s*q=([01](?:\.[0-9]{0,3})?)\s*\Z")


def liked(accept_language: str) -> list[str]:
    """Without those of no weight, which are not wanted. A weight that cannot be read is that of one not given."""
    found: list[tuple[float, str]] = []
    for part in accept_language.split(",")[:TAGS_MAX]:
        tag, _, weight = part.partition(";")
        match = _WEIGHT.match(weight)
        found.append((float(match[1]) if match else 1.0, tag.strip()))
    return [tag for weight, tag in sorted(found, key=lambda one: -one[0]) if tag and weight > 0]


def primary(tag: str) -> str:
    """`zh` of `zh-Hans-CN`."""
    return tag.strip().partition("-")[0].lower()
