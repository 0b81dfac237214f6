"""Which characters show something, and which may stand in an id. Pure."""

import unicodedata

ID_MAX_CHARS = 255
# Letters of the Hangul fillers and the Braille blank: they take room and show nothing.
_BLANK = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5")


def is_visible(text: str | None) -> bool:
    """Whether there is anything to read: not only spaces, controls, and characters that show nothing."""
    if not text:
        return False
    for character in text:
        if character.isalnum() and character not in _BLANK:
            return True
        if character not in _BLANK and unicodedata.category(character)[0] in "LNPS":
            return True
    return False


def id_issue(value: str) -> str | None:
    """Why an id cannot be compared byte for byte with what its sender means by it, or could harm who uses it."""
    if not value or len(value) > ID_MAX_CHARS:
        return f"must have 1 to {ID_MAX_CHARS} characters"
    if "../" in value or value.endswith(".."):
        return "must not hold a path that climbs"
    if value[0] == " " or value[-1] == " ":
        return "must not begin or end with a space"
    if value.isascii():
        return None if value.isprintable() else "must not hold control characters"
    if not unicodedata.is_normalized("NFC", value):
        return "must be in Unicode normal form C"
    if any(unicodedata.category(c)[0] == "C" or unicodedata.category(c) in {"So", "Zl", "Zp"} for c in value):
        return "must hold letters, digits and punctuation only"
    return None
