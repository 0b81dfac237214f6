"""What the tools' cells have in common. Pure."""

import re
from html import unescape

from shared.files.cells import Cell, as_text

_BREAK = re.compile(r"<(?:br|/p|/div|/li|/h[1-6])\b[^>]*>", re.IGNORECASE)
_TAG = re.compile(r"<[^>]*>")


def plain(cell: Cell) -> Cell:
    """HTML → what a person reads."""
    if not isinstance(cell, str) or "<" not in cell:
        return cell
    lines = unescape(_TAG.sub("", _BREAK.sub("\n", cell))).splitlines()
    return "\n".join(line.strip() for line in lines).strip()


def word(cell: Cell) -> str:
    return as_text(cell).strip().casefold()
