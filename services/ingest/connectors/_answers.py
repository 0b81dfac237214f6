"""The answers of one response to a survey or a form: which of them are words, which are scores, and who answers. Pure.

What a question is, `fields` of the source's options say, by any name that the tool has for it:

    options:
      language: zh-CN
      fields: {effort: ces, q7: text, first_name: name, age: leave_out, branch: answer}

Else its connector says it, who knows the tool's kinds of questions. Where nobody does, words are the customer's, an
address for e-mail says who answers where nothing else does, and everything else is told with its question and is no
more than that. What says who answers stands in `customer` or nowhere. Only a response with neither words nor scores has its answers for a text.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from services.ingest.connectors._fields import (
    digest_of,
    id_of,
    impersonal,
    language_of,
    number_of,
    present,
    text_of,
    unknown_options,
)
from services.ingest.sources import Source

WHO = frozenset({"name", "email", "customer_id", "account_id"})
ROLES = WHO | {"text", "answer", "leave_out"}
_METRIC = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
_EMAIL = re.compile(r"[^\s@,;<>\"]{1,64}@[^\s@,;<>\"]{1,255}\Z")
_NAMES = re.compile(r"\b(first|last|full|your|sur)[ _-]?name\b|^name\W*$|姓名|称呼|(您|你)的名字", re.IGNORECASE)
_YES_NO = {"yes": 1, "true": 1, "no": 0, "false": 0, "是": 1, "否": 0}
BESIDE = {
    "customer_id": "id",
    "user_id": "id",
    "userid": "id",
    "uid": "id",
    "email": "email",
    "name": "name",
    "account_id": "account_id",
    "company_id": "account_id",
    "role": "role",
    "tier": "tier",
    "plan": "tier",
}
"""What the company's own code puts beside a response, by the names that most people give it."""
OF_FEEDBACK = ("touchpoint", "lifecycle_stage")


def check_answers(source: Source, *others: str) -> list[str]:
    """What is wrong with the options of a survey's source."""
    issues = unknown_options(source, "language", "fields", *others)
    language, fields = source.options.get("language"), source.options.get("fields", {})
    if language is not None and language_of(language) is None:
        issues.append("options: language must be a language as BCP 47 writes it, such as zh-CN")
    if not isinstance(fields, dict):
        return [*issues, "options: fields must name what questions are, such as {effort: ces}"]
    for name, role in fields.items():
        if not isinstance(name, str):
            issues.append(f"options: fields: {name} must stand in quotes: the name of a question is a text")
        if not (isinstance(role, str) and _METRIC.match(role)):
            issues.append(f"options: fields: {name} must be one of {', '.join(sorted(ROLES))}, or a metric")
    return issues


def asks_for_a_name(question: Any) -> bool:
    """A short question for a name is what people type into one, in forms that have no kind of their own for it."""
    return isinstance(question, str) and _NAMES.search(question) is not None


class Answers:
    def __init__(self, source: Source) -> None:
        fields = source.options.get("fields", {})
        self._roles: Mapping[Any, Any] = fields if isinstance(fields, dict) else {}
        self._language = source.options.get("language")
        self._words: list[str] = []
        self._names: list[str] = []
        self._given: list[Any] = []
        self._beside: dict[str, Any] = {}
        self._guessed: dict[str, str] = {}
        self.scores: list[dict[str, Any]] = []
        self.customer: dict[str, str] = {}
        self.told: list[dict[str, Any]] = []

    def take(
        self, value: Any, names: Iterable[Any], question: Any = None, role: str | None = None, given: Any = None
    ) -> None:
        """One answer. `names`: what the question may be called in `fields`, the tool's own name first. `given`: what
        came, where options have chosen `value` among it."""
        self._given.append(_value(value if given is None else given))
        known = [name for name in map(_name_of, names) if name]
        role = next((self._roles[name] for name in known if name in self._roles), role)
        value = _value(value)
        if value is None or role == "leave_out":
            return
        if role is None and _is_address(value):
            # Their own, or a colleague's: whatever else is known of who answers comes before it.
            self._guessed.setdefault("email", shown(value))
            return
        if role is None:
            role = _guess(value)
        if role in WHO:
            self._who(role, shown(value))
            return
        if role == "text":
            self._words.append(shown(value))
        elif role not in ROLES:
            score = _score(role, value)
            if score is not None:
                self.scores.append({"metric": role, "value": score})
        asked = question if isinstance(question, str) else None
        self.told.append(present({"question": text_of(asked), "ref": next(iter(known), None), "answer": value}))

    def is_metric(self, names: Iterable[Any]) -> bool:
        """Whether `fields` call this question a score: then its number is looked for, and not its label."""
        return any(self._roles.get(name, "text") not in ROLES for name in map(_name_of, names))

    def take_beside(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What stands beside the answers: hidden fields, custom variables. Gives back what is not ours."""
        rest: dict[str, Any] = {}
        for name, value in values.items():
            ours, said = BESIDE.get(str(name).lower()), text_of(value) or id_of(value)
            if ours and said:
                self.customer.setdefault(ours, said)
            elif str(name).lower() in OF_FEEDBACK:
                self._beside[str(name).lower()] = said
            elif value not in (None, "", [], {}):
                rest[str(name)] = value
        return impersonal(rest)

    @property
    def text(self) -> str | None:
        if self._words or self.scores:
            return "\n\n".join(self._words) or None
        return (
            "\n".join(
                f"{one['question']}: {shown(one['answer'])}" if "question" in one else shown(one["answer"])
                for one in self.told
            )
            or None
        )

    @property
    def digest(self) -> str:
        """Of what was answered, whatever our options make of it: an answer that somebody changes is said anew; a
        question or an option that we change says nothing."""
        return digest_of(json.dumps(self._given))

    def body(self, customer: Mapping[str, Any], attributes: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
        """The feedback; `fields` are ours by their names. `customer` is what the tool knows of who answers."""
        language = language_of(fields.pop("language", None)) or language_of(self._language)
        return present(
            {
                "text": self.text,
                "language": language,
                "scores": self.scores,
                "customer": self._guessed | present(customer) | self.customer,
                "channel": "survey",
                "solicited": True,
                **self._beside,
                **fields,
                "attributes": present({**attributes, "answers": self.told}),
            }
        )

    def _who(self, role: str, value: str) -> None:
        if role == "name":
            self._names.append(value)
            self.customer["name"] = " ".join(self._names)
        else:
            self.customer["id" if role == "customer_id" else role] = value


def _name_of(given: Any) -> str | None:
    """A question may be called by its title, however long that is."""
    return text_of(given) or id_of(given)


def _is_address(value: Any) -> bool:
    return isinstance(value, str) and _EMAIL.match(value) is not None


def _guess(value: Any) -> str:
    return "text" if isinstance(value, str) and number_of(value) is None else "answer"


def _score(metric: str, value: Any) -> int | float | None:
    if isinstance(value, bool):
        return int(value)
    if metric == "hmd" and isinstance(value, str):
        return _YES_NO.get(value.lower(), number_of(value))
    return number_of(value)


def _value(value: Any) -> Any:
    """Words, a number, yes or no, or a list of words. None where nothing was answered."""
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        pairs = [(text_of(name), _plain(one)) for name, one in value.items()]
        return [f"{name}: {one}" if name else one for name, one in pairs if one] or None
    if isinstance(value, list):
        return [one for one in map(_plain, value) if one] or None
    return text_of(value)


def _plain(value: Any) -> str | None:
    if isinstance(value, list):
        return ", ".join(one for one in map(_plain_one, value) if one) or None
    return _plain_one(value)


def _plain_one(value: Any) -> str | None:
    return text_of(value) or (shown(value) if isinstance(value, bool | int | float) else None)


def shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else str(value)
