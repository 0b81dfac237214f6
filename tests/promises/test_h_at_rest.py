"""H, and what of G is about ourselves: what stands in the database, on the topics, in the log, and in what a stranger sees."""

import json
import re
from pathlib import Path

import pytest

from tests.promises.site import WEBHOOK_SECRET, Site
from tests.promises.table import AUTH, HOST, JSON, Row, asked, body, get, named, post, refused, rows

ROOT = Path(__file__).resolve().parents[2]
FORGED = 'x"}\r\n{"event":"forged","level":"info"}\x1b[31m\u202e'


async def test_73_what_a_stranger_names_is_one_line_of_json_and_paints_no_terminal(site: Site) -> None:
    unheard = f"/v1/webhooks/{'%0d%0a%1b%5b31m%e2%80%ae' * 3}"
    await asked(site, post(b"{}", path=unheard.encode()))
    await asked(site, post(body(source=FORGED, channel=FORGED)))
    await asked(site, post(body(), JSON + b"X-Request-Id: \x1b[31mforged\r\n"))
    await asked(site, post(b"not JSON", JSON + b"X-Request-Id: " + b"x" * 10_000 + b"\r\n"))
    lines = site.log("flywheel.log").strip().split("\n")
    assert all(json.loads(line)["event"] != "forged" for line in lines)
    assert all(character.isprintable() for line in lines for character in line)
    assert max(map(len, lines)) < 20_000


async def test_75_no_secret_stands_in_the_database_or_on_a_topic(site: Site) -> None:
    """Every column of every table, the embedded log's records among them: what a dump would hold."""
    secrets = {
        "an API key": site.key,
        "the admin's": site.deployment.api_key,
        "a webhook's": WEBHOOK_SECRET,
        "what signs links": site.deployment.env["FLYWHEEL_SECRET"],
    }
    tables = await site.sql(
        "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables"
        " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    )
    assert len(tables) > 20
    for table in tables:
        for what, secret in secrets.items():
            found = await site.sql(
                f"SELECT 1 FROM {table['name']} t WHERE position($1 IN t::text) > 0 OR position($2 IN t::text) > 0 LIMIT 1",
                secret,
                secret.encode().hex(),
            )
            assert found == [], f"{what} key in {table['name']}"


CANARY = "canary.bird@example.org"
CARD = "4111111111111111"
PERSON = {"id": "canary-7", "email": CANARY, "name": "Canary Bird"}


async def test_77_no_personal_word_reaches_the_log_the_figures_or_a_refusal(site: Site) -> None:
    """Taken, refused, unreadable and ignored: by every way that a text can come."""
    said = f"My card {CARD} was charged, says {CANARY}"
    sent = [
        post(body(text=said, customer=PERSON)),
        post(body(text=said, customer=PERSON | {"email": CANARY + ", x"})),
        post(body(text=said, customer=PERSON, channel=said)),
        post(json.dumps([{"source": "s", "customer": PERSON}]).encode(), path=b"/v1/feedback/batch"),
        post(json.dumps({"specversion": "1.0", "id": CANARY, "source": said, "type": said}).encode(), b"Content-Type: application/cloudevents+json\r\n", b"/v1/events"),
        post(said.encode(), path=b"/v1/webhooks/open"),
        post(json.dumps({"text": said, "customer": PERSON}).encode(), path=b"/v1/webhooks/open"),
        post(json.dumps({"title": said}).encode(), path=b"/v1/webhooks/open"),
        get(b"/v1/cases?customer=" + CANARY.encode()),
        get(b"/v1/cases/" + CANARY.encode()),
    ]  # fmt: skip
    for request in sent:
        reply = await asked(site, request)
        assert reply.status < 500
        if reply.status >= 400:
            shown = reply.body.replace(f"/v1/cases/{CANARY}".encode(), b"")  # the address is the asker's own
            assert not _personal(shown.decode()), shown
    assert not _personal(site.http.get("/metrics").text)
    site.deployment.until(lambda: site.http.get("/v1/cases", params={"customer": PERSON["id"]}).json()["items"])
    assert not _personal(site.log())


def _personal(text: str) -> list[str]:
    return [word for word in (CANARY, CARD, PERSON["name"]) if word in text]


NOT_HERE = [
    Row(80, path.strip(b"/").decode(), get(path, b""), 404, "not-found")
    for path in (b"/debug", b"/debug/pprof/", b"/admin", b"/actuator/env", b"/.env", b"/.git/config", b"/server-status",
                 b"/redoc", b"/console.py", b"/v1/", b"/metrics/")
]  # fmt: skip


@rows(NOT_HERE)
async def test_refused(site: Site, row: Row) -> None:
    await refused(site, row)


async def test_80_what_anybody_may_see_says_nothing_of_anybody(site: Site) -> None:
    """The contract has health, figures and the API's own description open: the first says one word, the last no data."""
    assert site.http.get("/healthz").json() == {"status": "ok"}
    assert site.http.get("/readyz").json() == {"status": "ready"}
    metrics = site.http.get("/metrics").text
    assert site.key not in metrics
    assert "partner" not in json.dumps(site.openapi())


ERRORS: list[tuple[str, bytes]] = [
    ("a body that cannot be read", post(b"{")),
    ("a bad frame", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    ("a page that is not there", get(b"/cases/not-an-id", b"")),
    ("an id that is none", get(b"/v1/feedback/'%22%5c/trace")),
    ("a link that is none", get(b"/loop/x", b"")),
    ("a method that is none", b"FROB / HTTP/1.1\r\n" + HOST + b"\r\n"),
    ("a form that is none", post(b"a=" * 2_000, b"Content-Type: application/x-www-form-urlencoded\r\n", b"/login")),
    ("a header that is no number", get(b"/v1/teams/support/feedback", AUTH + b"Last-Event-ID: \xff\r\n")),
]
TELLS = re.compile(
    rb"Traceback|File \"|\.py\b|uvicorn|starlette|fastapi|pydantic|asyncpg|postgres|python|httptools", re.I
)


@pytest.mark.parametrize("sent", [sent for _, sent in ERRORS], ids=[named(81, words) for words, _ in ERRORS])
async def test_an_error_names_neither_stack_nor_version(site: Site, sent: bytes) -> None:
    reply = await asked(site, sent)
    assert reply.status < 500
    assert not TELLS.search(reply.body), reply.body
    assert {"server", "x-powered-by", "via"}.isdisjoint(reply.headers)


def test_82_every_pinned_package_has_its_hash_and_is_installed_by_it() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        pinned = re.split(r"\n(?=[a-z0-9])", (ROOT / name).read_text("utf-8").strip())
        assert len(pinned) > 30
        for requirement in pinned:
            assert re.match(r"[a-z0-9._\[\],-]+==\S+", requirement), requirement
            assert "--hash=sha256:" in requirement, requirement
        assert "://" not in (ROOT / name).read_text("utf-8"), "nobody's registry is written down"
    for name in ("Makefile", "deploy/Dockerfile"):
        installs = re.findall(r"pip [^\n]*install[^\n]* -r [^\n]*", (ROOT / name).read_text("utf-8"))
        assert installs
        assert all("--require-hashes" in line for line in installs), name
