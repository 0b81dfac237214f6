"""Values over time → the points of an inline SVG. ●"""

from collections.abc import Sequence

WIDTH, HEIGHT = 140, 40
INSET = 3
"""A line at the very edge would be cut in half."""


def segments(values: Sequence[float | None], top: float = 1.0) -> list[str]:
    """A `points` attribute for each stretch without a gap, from 0 at the bottom to `top`. A point that stands alone is
    there twice, which a round line cap makes a dot."""
    step = (WIDTH - 2 * INSET) / max(1, len(values) - 1)
    found: list[list[str]] = [[]]
    for place, value in enumerate(values):
        if value is None:
            found.append([])
        else:
            share = value / top if top else 0.0
            found[-1].append(f"{INSET + place * step:.1f},{HEIGHT - INSET - share * (HEIGHT - 2 * INSET):.1f}")
    return [" ".join(points if len(points) > 1 else points * 2) for points in found if points]
