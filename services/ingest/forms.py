"""Hosted forms: a voice that has no tool behind it. What `forms:` of sources.yaml may say, and what somebody filled in. ●

A form is a source of its name. Its words may be written in any languages; those of the page around them (send, thank you,
what is wrong) are there in English and Chinese, and for other languages are given with the form, under `words`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from services.ingest.limits import Rate, parse_rate
from shared.events.characters import is_visible
from shared.events.feedback import METRIC_RANGES, TEXT_MAX_CHARS, Channel
from shared.topics import DEFAULT_WORKSPACE
from shared.web.languages import liked, primary

TEMPLATES = Path(__file__).parent / "templates"
REF_MAX_CHARS = 200
HONEYPOT = "website"
"""A field that no person sees. What fills in every field there is, is no person."""

Tag = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$")]
Words = Annotated[str, StringConstraints(min_length=1, max_length=2_000)]
Said = dict[Tag, Words]
Score = Literal["stars", "csat", "nps", "ces", "hmd"]
Asked = Literal["required", "optional", "off"]
Origin = Annotated[str, StringConstraints(pattern=r"^https?://(\*\.)?[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?$")]


@cache
def own_words() -> Mapping[str, Mapping[str, str]]:
    """Language → what the page around a form says."""
    found: Mapping[str, Mapping[str, str]] = yaml.safe_load((TEMPLATES / "form.words.yaml").read_text(encoding="utf-8"))
    return found


class Form(BaseModel):
    """`/f/{name}`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
    title: Said | Words
    """In one language, or in each of several by its tag."""
    intro: Said | Words | None = None
    question: Said | Words | None = None
    """What stands over the score."""
    thanks: Said | Words | None = None
    score: Score | None = None
    text: Asked = "optional"
    contact: Asked = "optional"
    """An e-mail address, by which the customer can be told what became of it."""
    channel: Channel | None = None
    """web; store where it is a kiosk."""
    touchpoint: Annotated[str, StringConstraints(max_length=255)] | None = None
    kiosk: bool = False
    """For a screen that many use, one after the other: it clears itself."""
    embed: tuple[Origin, ...] = ()
    """Pages of these origins may show it in a frame."""
    words: dict[Tag, dict[str, Words]] = Field(default_factory=dict)
    rate: str = "120/m"
    """Of all who fill it in; what comes faster is asked to try again."""
    workspace: str = DEFAULT_WORKSPACE

    @field_validator("rate")
    @classmethod
    def _a_rate(cls, value: str) -> str:
        parse_rate(value)
        return value

    @model_validator(mode="after")
    def _asks_something(self) -> "Form":
        if self.text == "off" and self.score is None:
            raise ValueError("it asks for nothing: give score, or text: optional or required")
        needed = set(own_words()["en"])
        for language in self.languages:
            missing = needed - set(self.words.get(language, {}))
            if language not in own_words() and missing:
                raise ValueError(
                    f"words.{language}: has no {', '.join(sorted(missing))}; the page has only en and zh itself"
                )
        return self

    @property
    def languages(self) -> tuple[str, ...]:
        """The first one is for whoever speaks none of them."""
        return tuple(self.title) if isinstance(self.title, dict) else tuple(own_words())

    @property
    def rate_of_all(self) -> Rate:
        return parse_rate(self.rate)

    @property
    def said_by(self) -> str:
        return self.channel or ("store" if self.kiosk else "web")

    def language(self, wanted: str, accepted: str) -> str:
        """`wanted`: of the address; `accepted`: Accept-Language (RFC 9110 §12.5.4)."""
        for tag in (wanted, *liked(accepted)):
            for language in self.languages:
                if tag.lower() == language.lower() or primary(tag) == primary(language):
                    return language
        return self.languages[0]

    def says(self, language: str) -> "Page":
        """What the page says in one of its languages."""
        own = own_words().get(language) or own_words().get(primary(language)) or own_words()["en"]
        words = {**own, **self.words.get(language, {})}
        return Page(
            language=language,
            title=_in(self.title, language) or "",
            intro=_in(self.intro, language),
            question=_in(self.question, language) or words["how_was_it"],
            thanks=_in(self.thanks, language) or words["thanks_text"],
            words=words,
        )


@dataclass(frozen=True, slots=True)
class Page:
    language: str
    title: str
    intro: str | None
    question: str
    thanks: str
    words: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Filled:
    """What came back, as far as we asked for it."""

    text: str = ""
    score: str = ""
    name: str = ""
    email: str = ""
    is_machine: bool = False
    wrong: Mapping[str, str] = field(default_factory=dict)
    """Field → the key of what is said about it."""


def filled(form: Form, fields: Mapping[str, str]) -> Filled:
    """Judged as far as a person can mend it; the model has the last word (`body_of`)."""
    text, score = fields.get("text", "").replace("\r\n", "\n").strip(), fields.get("score", "").strip()
    text = text if is_visible(text) else ""
    name, email = fields.get("name", "").strip(), fields.get("email", "").strip()
    wrong: dict[str, str] = {}
    if form.text == "required" and not text:
        wrong["text"] = "please_write"
    if len(text) > TEXT_MAX_CHARS:
        wrong["text"] = "too_long"
    if form.score is not None and score and score not in choices(form.score):
        wrong["score"] = "please_choose"
    if form.contact == "required" and not email:
        wrong["email"] = "please_address"
    if not text and not score and not wrong:
        wrong["score" if form.score is not None else "text"] = "please_something"
    return Filled(text, score, name, email, bool(fields.get(HONEYPOT)), wrong)


def choices(score: Score) -> tuple[str, ...]:
    low, high = METRIC_RANGES[score]
    return tuple(str(number) for number in range(int(low), int(high) + 1))


def body_of(form: Form, said: Filled, ref: str) -> dict[str, Any]:
    """As the native API would take it."""
    customer = {name: value for name, value in (("email", said.email), ("name", said.name)) if value}
    body: dict[str, Any] = {"source": form.name, "channel": form.said_by, "solicited": True}
    if said.text and form.text != "off":
        body["text"] = said.text
    if said.score and form.score is not None:
        body["scores"] = [{"metric": form.score, "value": int(said.score)}]
    if customer and form.contact != "off" and said.email:
        body["customer"] = customer
    if form.touchpoint:
        body["touchpoint"] = form.touchpoint
    attributes = {"form": form.name} | ({"ref": ref[:REF_MAX_CHARS]} if ref else {})
    return body | {"attributes": attributes}


def _in(said: Mapping[str, str] | str | None, language: str) -> str | None:
    if said is None or isinstance(said, str):
        return said
    return said.get(language) or next(iter(said.values()), None)
