"""Hosted forms: what may be written in sources.yaml, what people see and send, and what becomes of it."""

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import httpx2
import pytest

from services.ingest import connectors as package
from services.ingest.connectors import Connector
from services.ingest.forms import Form, body_of, filled, own_words
from services.ingest.sources import read_sources
from shared import registry
from shared.config.document import ConfigError, parse
from shared.events.envelope import Envelope
from tests.ingest.conftest import Server, Start

FORMS = """
forms:
  - name: shop
    title: {en: "How was your visit?", zh: "这次光临怎么样？"}
    intro: {en: "Two minutes.", zh: "只要两分钟。"}
    score: stars
    touchpoint: checkout
    embed: ["https://shop.example.com"]
  - {name: till, title: Till, score: hmd, text: "off", contact: "off", kiosk: true}
  - {name: idea, title: {en: An idea}, text: required, contact: required, rate: 2/m}
"""


def read(text: str) -> Any:
    return read_sources(parse("sources.yaml", text, {}), registry.load(package, Connector))


# ── what may be written ──


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("{name: a, title: x, text: 'off'}", "asks for nothing"),
        ("{name: A/b, title: x}", "name"),
        ("{name: a, title: {de: Hallo}}", "words.de: has no another, away"),
        ("{name: a, title: x, rate: often}", "1000/s"),
        ("{name: a, title: x, embed: ['*']}", "embed"),
        ('{name: a, title: x, embed: ["https://x.example; script-src *"]}', "embed"),
        ("{name: a, title: x, score: joy}", "score"),
        ("{name: a, title: x}, {name: a, title: y}", "stands twice"),
        ("{name: a}", "title"),
    ],
)
def test_refused(form: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(f"forms: [{form}]")
    assert said in str(caught.value)
    assert str(caught.value).startswith("sources.yaml:1:")


def test_a_form_and_a_source_share_their_names() -> None:
    with pytest.raises(ConfigError, match="stands twice"):
        read("sources: [{name: a, connector: standard, verify: none}]\nforms: [{name: a, title: x}]")


def test_a_language_of_ones_own() -> None:
    words = json.dumps({"de": {key: f"de {key}" for key in own_words()["en"]}})
    (form,) = read(f"forms: [{{name: a, title: {{de: Wie war es?, en: How?}}, words: {words}}}]").forms
    assert form.says("de").words["send"] == "de send"
    assert form.says("en").words["send"] == "Send"
    assert form.language("", "fr, de-AT;q=0.8, en;q=0.5") == "de"
    assert form.language("en", "de") == "en"
    assert form.language("", "fr") == "de", "the first one is for whoever speaks none of them"


@pytest.mark.parametrize("accepted", ["zh-TW,zh;q=0.9,en;q=0.8", "ZH", "zh-Hans-CN", "x;q=b,zh;q=0.1"])
def test_whoever_reads_chinese_gets_it(accepted: str) -> None:
    assert Form(name="a", title={"en": "a", "zh": "b"}).language("", accepted) == "zh"


def test_both_languages_say_the_same_things() -> None:
    words = own_words()
    assert set(words["en"]) == set(words["zh"])


def test_what_was_not_asked_for_is_not_taken() -> None:
    form = Form(name="a", title="x", score="hmd", text="off", contact="off")
    said = filled(form, {"score": "1", "text": "words", "email": "a@example.com", "name": "A"})
    assert body_of(form, said, "r" * 500) == {
        "source": "a",
        "channel": "web",
        "solicited": True,
        "scores": [{"metric": "hmd", "value": 1}],
        "attributes": {"form": "a", "ref": "r" * 200},
    }


# ── what people see and send ──


@pytest.fixture
async def server(start: Start) -> Server:
    return await start(sources=FORMS)


async def get(server: Server, path: str, **headers: str) -> httpx2.Response:
    return await server.http.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})


def hidden(page: str, name: str) -> str:
    (found,) = re.findall(rf'name="{name}" value="([^"]*)"', page)
    return unescape(found)


async def fill(server: Server, form: str, page: str | None = None, **fields: str) -> httpx2.Response:
    page = page if page is not None else (await get(server, f"/f/{form}")).text
    return await server.http.post(f"/f/{form}?lang=en", data={"once": hidden(page, "once"), **fields})


async def values(server: Server) -> list[dict[str, Any]]:
    return [json.loads(record.value) for record in await server.received()]


async def test_what_somebody_writes_is_feedback_with_a_person_behind_it(server: Server) -> None:
    page = (await get(server, "/f/shop?ref=table-7&lang=zh")).text
    assert 'lang="zh"' in page
    assert "这次光临怎么样？" in page
    answer = await fill(
        server,
        "shop",
        page,
        text="排队太久 😤\r\n第二行",
        score="2",
        email="Li@example.com",
        name="李",
        ref=hidden(page, "ref"),
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/f/shop/thanks?lang=en")
    assert "somebody will read it" in (await get(server, answer.headers["location"])).text
    (value,) = await values(server)
    assert value["text"] == "排队太久 😤\n第二行"
    assert value["scores"] == [{"metric": "stars", "value": 2}]
    assert (value["source"], value["channel"], value["solicited"], value["touchpoint"]) == (
        "shop",
        "web",
        True,
        "checkout",
    )
    assert value["customer"] == {"email": "Li@example.com", "name": "李"}
    assert value["attributes"] == {"form": "shop", "ref": "table-7"}


async def test_a_button_pressed_twice_is_one_delivery_and_a_new_page_another(server: Server) -> None:
    page = (await get(server, "/f/shop")).text
    for _ in range(2):
        await fill(server, "shop", page, text="slow")
    await fill(server, "shop", text="slow")
    ids = [Envelope.from_headers(record.headers).id for record in await server.received()]
    assert len(ids) == 3
    assert len(set(ids)) == 2


async def test_a_name_of_nobody_s_making_is_not_believed(server: Server) -> None:
    for _ in range(2):
        await server.http.post("/f/shop", data={"once": "mine", "text": "x"})
    ids = {Envelope.from_headers(record.headers).id for record in await server.received()}
    assert len(ids) == 2


@pytest.mark.parametrize(
    ("form", "fields", "said"),
    [
        ("shop", {}, "Please choose, or write something."),
        ("shop", {"text": " \u200b "}, "Please choose, or write something."),
        ("shop", {"score": "6", "text": "MINE"}, "Please choose one of these."),
        ("shop", {"text": "MINE", "email": "no address"}, "This is no e-mail address."),
        ("shop", {"text": "MINE\x00"}, "cannot be kept"),
        ("idea", {"email": "a@example.com"}, "Please write a few words."),
        ("idea", {"text": "MINE"}, "Please give an address."),
    ],
)
async def test_what_is_wrong_is_said_and_nothing_written_is_lost(
    server: Server, form: str, fields: dict[str, str], said: str
) -> None:
    answer = await fill(server, form, **fields)
    assert answer.status_code == 422
    assert said in answer.text
    assert ("MINE" in answer.text) == ("MINE" in fields.get("text", ""))
    assert not await server.received()


async def test_words_are_never_markup(server: Server) -> None:
    answer = await fill(server, "shop", text="</textarea><script>x</script>", email='"><b>', score="9")
    assert "<script>" not in answer.text
    assert "<b>" not in answer.text


async def test_a_machine_is_thanked_and_goes_nowhere(server: Server) -> None:
    answer = await fill(server, "shop", text="buy", website="https://spam.example")
    assert answer.status_code == 303
    assert not await server.received()


async def test_too_many_are_asked_to_send_it_again(server: Server) -> None:
    sent = [await fill(server, "idea", text="an idea", email="a@example.com") for _ in range(3)]
    assert [answer.status_code for answer in sent] == [303, 303, 429]
    assert int(sent[-1].headers["retry-after"]) > 0
    assert "an idea" in sent[-1].text


async def test_a_log_that_is_away_loses_no_words(start: Start) -> None:
    server = await start(sources=FORMS, gated=True, env={"INGEST_ACK_TIMEOUT_S": "0.2"})
    gate: Any = await server.runtime.log.producer()
    gate.shut()
    answer = await fill(server, "shop", text="keep me")
    assert answer.status_code == 503
    assert "keep me" in answer.text
    gate.open()
    once = hidden(answer.text, "once")
    assert (await server.http.post("/f/shop", data={"once": once, "text": "keep me"})).status_code == 303
    ids = {Envelope.from_headers(record.headers).id for record in await server.received()}
    assert len(ids) == 1, "sent again from the same page it is the same delivery"


async def test_a_kiosk_clears_itself_and_keeps_nothing_of_the_last_one(server: Server) -> None:
    page = await get(server, "/f/till")
    assert page.headers["refresh"].startswith("180; url=/f/till?lang=")
    assert 'autocomplete="off"' in page.text
    answer = await fill(server, "till", score="1")
    thanks = await get(server, answer.headers["location"])
    assert thanks.headers["refresh"] == "8; url=/f/till?lang=en"
    (value,) = await values(server)
    assert value["channel"] == "store"
    assert "refresh" not in (await get(server, "/f/shop")).headers


async def test_only_who_is_named_may_show_it_in_a_frame(server: Server) -> None:
    assert (
        "frame-ancestors https://shop.example.com" in (await get(server, "/f/shop")).headers["content-security-policy"]
    )
    page = await get(server, "/f/till")
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert "set-cookie" not in page.headers
    assert "script" not in page.text


async def test_the_code_leads_to_the_form(server: Server) -> None:
    answer = await get(server, "/f/shop/qr.svg?ref=table%207")
    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.text.count("<path") == 2 or "<svg" in answer.text
    assert answer.text != (await get(server, "/f/shop/qr.svg")).text


@pytest.mark.parametrize("path", ["/f/none", "/f/none/thanks", "/f/none/qr.svg"])
async def test_no_form_is_a_page_too(server: Server, path: str) -> None:
    answer = await get(server, path, accept_language="zh")
    assert answer.status_code == 404
    assert "这里没有表单" in answer.text
    assert (await server.http.post("/f/none", data={"text": "x"})).status_code == 404


async def test_a_body_that_is_no_form_is_an_empty_one(server: Server) -> None:
    for raw in (b"\xff\xfe", b"a=1&" * 100, b'{"text": "x"}', b""):
        answer = await server.http.post("/f/shop", content=raw)
        assert answer.status_code == 422
    assert (await server.http.post("/f/shop", content=b"x" * 300_000)).status_code == 413


def test_the_style_is_the_one_that_the_policy_allows() -> None:
    folder = Path(__file__).resolve().parents[2] / "services" / "ingest" / "templates"
    assert "</style" not in (folder / "form.css").read_text()
