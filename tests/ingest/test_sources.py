"""sources.yaml: what it may say, and that everything wrong with it is told with its place."""

import pytest

from services.ingest import connectors as package
from services.ingest.connectors import Connector
from services.ingest.sources import read_sources
from shared import registry
from shared.config import STARTER
from shared.config.document import ConfigError, parse

CONNECTORS: dict[str, Connector] = registry.load(package, Connector)
KEY = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


def test_the_starter_loads_with_no_variable_set() -> None:
    document = parse("sources.yaml", (STARTER / "sources.yaml").read_text(), {})
    sources = read_sources(document, CONNECTORS)
    assert sources.sources == ()
    assert set(sources.ranges) == {"nps", "csat", "ces", "hmd", "stars"}


def test_the_starters_comments_hold_an_example_that_loads() -> None:
    lines = (STARTER / "sources.yaml").read_text().splitlines()
    marked = [
        line.removeprefix("# ").removeprefix("#")
        for line in lines
        if line.startswith("#   - {")
        or line in {"# sources:", "# metrics:", "# forms:"}
        or line.startswith("#   effort")
    ]
    variables = {"ZENDESK_SECRET": "z", "PARTNER_SECRET": KEY, "SLACK_SIGNING_SECRET": "s"}
    sources = read_sources(parse("sources.yaml", "\n".join(marked), variables), CONNECTORS)
    assert {source.connector for source in sources.sources} >= {"zendesk", "standard", "slack"}
    assert sources.metrics
    assert sources.forms


def test_empty_keys_are_empty_lists() -> None:
    sources = read_sources(parse("sources.yaml", "sources:\nmetrics:\n", {}), CONNECTORS)
    assert (sources.sources, dict(sources.metrics)) == ((), {})


REFUSED = [
    ("verify is never assumed away", "sources: [{name: a, connector: zendesk}]", "verify: none"),
    ("an empty secret", "sources: [{name: a, connector: zendesk, secrets: ['']}]", "at least 1 character"),
    ("a variable that is not set", "sources: [{name: a, connector: zendesk, secrets: ['${NOT_SET}']}]", "NOT_SET"),
    ("an unknown connector", "sources: [{name: a, connector: zendes, secrets: [x]}]", "there are: "),
    ("a name twice", "sources: [{name: a, connector: zendesk, secrets: [x]}, {name: a, connector: zendesk, secrets: [x]}]", "stands twice"),
    ("a name that is no part of an address", "sources: [{name: 'a/b', connector: zendesk, secrets: [x]}]", "name"),
    ("header without its name", "sources: [{name: a, connector: zendesk, verify: header, secrets: [x]}]", "header is required"),
    ("basic without a user", "sources: [{name: a, connector: zendesk, verify: basic, secrets: [x]}]", "user:password"),
    ("a key of 16 bytes", "sources: [{name: a, connector: standard, secrets: [whsec_MDEyMzQ1Njc4OWFiY2RlZg==]}]", "24 bytes"),
    ("a key that is none", "sources: [{name: a, connector: standard, secrets: [short]}]", "whsec_"),
    ("an option that nobody knows", "sources: [{name: a, connector: zendesk, secrets: [x], options: {domain: y}}]", "subdomain"),
    ("an unknown key", "sources: [{name: a, connector: zendesk, secrets: [x], secret: y}]", "is not known here"),
    ("a built-in metric", "metrics: {nps: {min: 0, max: 100}}", "built in"),
    ("a range the wrong way round", "metrics: {m: {min: 5, max: 1}}", "less than max"),
    ("infinity", "metrics: {m: {min: 0, max: '.inf'}}", "metrics"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_sources(parse("sources.yaml", text, {}), CONNECTORS)
    assert said in str(caught.value)
    assert str(caught.value).startswith("sources.yaml:1:")


def test_everything_wrong_is_told_at_once() -> None:
    text = """
sources:
  - {name: a, connector: nothing, secrets: [x]}
  - {name: a, connector: standard, secrets: [x]}
"""
    with pytest.raises(ConfigError) as caught:
        read_sources(parse("sources.yaml", text, {}), CONNECTORS)
    assert [(issue.line, issue.message[:12]) for issue in caught.value.issues] == [
        (3, "sources.0.co"),
        (4, "sources.1.na"),
        (4, "sources.1: s"),
    ]
