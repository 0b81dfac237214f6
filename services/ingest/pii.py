"""What the company does not want to keep, taken out at the door, before the log. Pure.

`drop` leaves a field out. `mask` looks for addresses and numbers in every text of a field and writes what was there in its
place: `[email]`, `[phone]`, `[card]`, `[iban]`, `[id]`. A number is masked as a card, an IBAN or a Chinese identity number
only if its check digits hold (ISO/IEC 7812, ISO 13616, GB 11643), so an order number stays.

Names in a sentence are not found: no rule finds them well, and a bad one gives a false peace of mind. What could not be read
at all is quarantined as it came, for nobody knows what stands where in it.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

from shared.events.feedback import Customer, Feedback

NEVER = frozenset({"text", "scores", "source", "external_id", "customer"})
"""Without them nothing was said, or nobody can be told; `text` may be masked, and a customer's fields dropped."""

_EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}")
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}[0-9]{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?(?![A-Za-z0-9])")
_CHINESE_ID = re.compile(r"(?<![0-9A-Za-z])[1-9][0-9]{16}[0-9Xx](?![0-9A-Za-z])")
_CARD = re.compile(r"(?<![0-9])[0-9](?:[ -]?[0-9]){12,18}(?![0-9])")
_PHONE = re.compile(
    r"(?<![0-9A-Za-z])(?:\+[0-9]{1,3}[ .-]?\(?[0-9]{1,4}\)?(?:[ .-]?[0-9]{2,4}){2,4}|1[3-9][0-9](?:[ -]?[0-9]{4}){2}|\([0-9]{2,4}\) ?[0-9]{3,4}[ -][0-9]{3,4})(?![0-9])"
)
_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_ID_CHECKS = "10X98765432"


def _is_card(text: str) -> bool:
    digits = [int(one) for one in text if one.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return len(set(digits)) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _is_iban(text: str) -> bool:
    plain = re.sub("[ -]", "", text)
    return 15 <= len(plain) <= 34 and int("".join(str(int(one, 36)) for one in plain[4:] + plain[:4])) % 97 == 1


def _is_chinese_id(text: str) -> bool:
    check = sum(weight * int(digit) for weight, digit in zip(_ID_WEIGHTS, text, strict=False)) % 11
    return _ID_CHECKS[check] == text[-1].upper()


def _any(_: str) -> bool:
    return True


_KINDS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("[email]", _EMAIL, _any),
    ("[iban]", _IBAN, _is_iban),
    ("[id]", _CHINESE_ID, _is_chinese_id),
    ("[card]", _CARD, _is_card),
    ("[phone]", _PHONE, _any),
)


def masked(text: str) -> str:
    for name, pattern, holds in _KINDS:
        text = _covered(text, name, pattern, holds)
    return text


def _covered(text: str, name: str, pattern: re.Pattern[str], holds: Callable[[str], bool]) -> str:
    return pattern.sub(lambda found: name if holds(found[0]) else found[0], text)


class Pii(BaseModel):
    """`pii:` of sources.yaml. A path is a field of the feedback, and with dots what lies in it: `attributes.ip`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    drop: tuple[str, ...] = ()
    mask: tuple[str, ...] = ()

    @field_validator("drop", "mask")
    @classmethod
    def _known(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        for path in paths:
            head, _, rest = path.partition(".")
            if head not in Feedback.model_fields:
                raise ValueError(f"{path}: feedback has no field {head}; there is: {', '.join(Feedback.model_fields)}")
            if rest and head not in {"customer", "attributes"}:
                raise ValueError(f"{path}: only customer and attributes have fields within")
            if head == "customer" and rest and rest not in Customer.model_fields:
                raise ValueError(f"{path}: a customer has no such field; there is: {', '.join(Customer.model_fields)}")
        return paths

    @field_validator("drop")
    @classmethod
    def _leaves_something(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        for path in paths:
            if path in NEVER:
                raise ValueError(f"{path} cannot be dropped: without it nothing was said, or by nobody; mask it")
        return paths

    @field_validator("mask")
    @classmethod
    def _tells_people_apart(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        for path in paths:
            if path in {"customer", "customer.id", "customer.email", "source", "external_id"}:
                raise ValueError(
                    f"{path} cannot be masked: all customers, or deliveries, would be one; drop what may go"
                )
        return paths

    def applied(self, members: Mapping[str, Any]) -> dict[str, Any]:
        """The same event without what is not to be kept."""
        kept = dict(members)
        for path in self.drop:
            _change(kept, path.split("."), _dropped)
        for path in self.mask:
            _change(kept, path.split("."), _masked)
        return kept


_GONE = object()


def _dropped(_: Any) -> Any:
    return _GONE


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, dict):
        return {masked(name): _masked(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(item) for item in value]
    return value


def _change(members: dict[str, Any], path: list[str], change: Callable[[Any], Any]) -> None:
    """In place, but what lies deeper is copied first: it is the caller's."""
    name, *rest = path
    if name not in members:
        return
    if rest:
        inner = members[name]
        if not isinstance(inner, dict):
            return
        value: Any = dict(inner)
        _change(value, rest, change)
        value = value or _GONE
    else:
        value = change(members[name])
    if value is _GONE:
        members.pop(name)
    else:
        members[name] = value
