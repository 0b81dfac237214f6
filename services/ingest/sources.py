"""sources.yaml: the tools that post webhooks here, and scores beyond the built-in ones.

What a person must decide is asked for: without `verify:` a webhook must be signed, and a source that takes unsigned
ones says `verify: none` in so many words.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from services.ingest.breaker import Limits
from services.ingest.forms import Form
from services.ingest.limits import Rate, parse_rate
from services.ingest.pii import Pii
from shared.config import Document, Issue
from shared.config.document import ConfigError
from shared.events.feedback import METRIC_RANGES
from shared.topics import DEFAULT_WORKSPACE

if TYPE_CHECKING:
    from services.ingest.connectors import Connector

FILE = "sources.yaml"
Verify = Literal["signature", "header", "basic", "none"]
Ranges = Mapping[str, tuple[float, float]]

SourceName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
MetricName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Workspace = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Secret = Annotated[str, StringConstraints(min_length=1)]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,100}$", to_lower=True)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Retiring(_Strict):
    """A secret that has been replaced at the tool, for what is still under way signed by it."""

    secret: Secret
    until: AwareDatetime


class Source(_Strict):
    """One tool that posts to `/v1/webhooks/{name}`."""

    name: SourceName
    connector: str
    secrets: tuple[Secret, ...] = ()
    """Newest first; each of them is good, so that one can be replaced without a gap."""
    retiring: tuple[Retiring, ...] = ()
    """Good as well, each until its time."""
    verify: Verify = "signature"
    """signature: the provider's own scheme. header: `header` carries one of `secrets`. basic: `user:password` is one
    of `secrets`. none: anybody who knows the address may post."""
    header: HeaderName | None = None
    workspace: Workspace = DEFAULT_WORKSPACE
    options: dict[str, Any] = Field(default_factory=dict)
    """What the connector alone understands."""
    rate: str | None = None
    """`100/s`, `6000/m`: in place of INGEST_RATE_PER_SOURCE."""
    pii: Pii | None = None
    """In place of the one for all sources."""
    breaker: Limits | Literal["off"] = Field(default_factory=Limits)

    @field_validator("rate")
    @classmethod
    def _a_rate(cls, value: str | None) -> str | None:
        if value is not None:
            parse_rate(value)
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.verify != "none" and not self.secrets:
            raise ValueError(f"secrets is required to verify by {self.verify}; to take unsigned posts say verify: none")
        if self.verify == "header" and not self.header:
            raise ValueError("header is required with verify: header: the name of the header that carries the secret")
        if self.verify == "basic" and not all(":" in secret for secret in self.ever().secrets):
            raise ValueError("with verify: basic each of secrets is user:password")
        return self

    @property
    def own_rate(self) -> Rate | None:
        return parse_rate(self.rate) if self.rate is not None else None

    def ever(self) -> "Source":
        """With every secret that is good at any time."""
        return self._with([one.secret for one in self.retiring])

    def at(self, now: datetime) -> "Source":
        """With the secrets that are good at this time."""
        return self._with([one.secret for one in self.retiring if now < one.until])

    def _with(self, secrets: Sequence[str]) -> "Source":
        return self.model_copy(update={"secrets": (*self.secrets, *secrets)}) if secrets else self


class Range(_Strict):
    min: float
    max: float

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min >= self.max:
            raise ValueError("min must be less than max")
        return self


class Sources(_Strict):
    sources: tuple[Source, ...] = ()
    metrics: dict[MetricName, Range] = Field(default_factory=dict)
    pii: Pii | None = None
    """For everything that comes in, whatever way; a source may have its own."""
    forms: tuple[Form, ...] = ()
    """Hosted here, at `/f/{name}`."""

    @field_validator("sources", "forms", "metrics", mode="before")
    @classmethod
    def _empty(cls, value: Any, info: Any) -> Any:
        """A key with nothing after it is an empty list, as people write it."""
        return value if value is not None else ({} if info.field_name == "metrics" else ())

    @field_validator("metrics")
    @classmethod
    def _new(cls, value: dict[str, Range]) -> dict[str, Range]:
        built_in = sorted(set(value) & set(METRIC_RANGES))
        if built_in:
            raise ValueError(f"{', '.join(built_in)}: built in, with ranges that reports rely on")
        return value

    @property
    def ranges(self) -> Ranges:
        return METRIC_RANGES | {name: (range_.min, range_.max) for name, range_ in self.metrics.items()}

    def by_name(self) -> dict[str, Source]:
        return {source.name: source for source in self.sources}


def read_sources(document: Document, connectors: Mapping[str, "Connector"]) -> Sources:
    """sources.yaml, with `${ENV}` filled in. Raises `ConfigError` with everything that is wrong."""
    sources = document.read(Sources)
    issues: list[Issue] = []
    seen: set[str] = set()
    for index, source in enumerate(sources.sources):
        at = ("sources", index)
        if source.name in seen:
            issues.append(document.issue((*at, "name"), f"the name {source.name!r} stands twice"))
        seen.add(source.name)
        connector = connectors.get(source.connector)
        if connector is None:
            known = ", ".join(sorted(connectors))
            issues.append(document.issue((*at, "connector"), f"there is no connector of this name; there are: {known}"))
            continue
        if source.verify == "signature" and not connector.SIGNS:
            text = f"{source.connector} signs nothing: choose verify: header, basic or none"
            issues.append(document.issue((*at, "verify"), text))
            continue
        issues.extend(document.issue(at, text) for text in connector.check(source.ever()))
    for index, form in enumerate(sources.forms):
        if form.name in seen:
            issues.append(document.issue(("forms", index, "name"), f"the name {form.name!r} stands twice"))
        seen.add(form.name)
    if issues:
        raise ConfigError(issues)
    return sources
