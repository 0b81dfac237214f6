"""A file of feedback as a lead brings it, looks at it and sends it; and everybody who may not, and everything that is no
such file. All four services behind one real port."""

import asyncio
import csv
import io
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from services.console import imports, uploads
from services.console.imports import Imports
from services.console.pages.imports import options_of, said_in
from services.console.uploads import KEPT
from shared.topics import RECEIVED
from tests.closer.world import eventually
from tests.console.site import PEOPLE, Console, Visitor, console, with_people

GOOD = 12
CHINESE = (
    "编号,评论内容,推荐意愿,评论时间,门店\r\nR1,更新之后闪退了,9,2025/3/30,一\r\nR2,物流太慢了,99,2025/3/29,二\r\n"
    + "".join(f"R{n + 2},客服态度很好 {n},{n % 11},2025/3/{n + 1},一\r\n" for n in range(1, GOOD))
)
PLAIN = "comment\nThe app crashes\nToo slow\n"


async def lead(site: Console, language: str = "en") -> Visitor:
    visitor = await site.sign_in("max@example.com", None, **{"accept-language": language})
    await visitor.get("/imports")
    return visitor


async def bring(visitor: Visitor, content: bytes | str, name: str = "reviews.csv", **more: Any) -> httpx2.Response:
    raw = content.encode() if isinstance(content, str) else content
    answer = await visitor.http.post("/imports", data={"csrf": visitor.csrf}, files={"file": (name, raw)}, **more)
    return answer


async def brought(visitor: Visitor, content: bytes | str, name: str = "reviews.csv") -> str:
    """Its page."""
    answer = await bring(visitor, content, name)
    assert answer.status_code == 303, answer.text
    assert re.fullmatch(r"/imports/[0-9a-f]{32}", answer.headers["location"])
    return str(answer.headers["location"])


def engine(site: Console) -> Imports:
    found: Imports = site.service._imports
    return found


def folder(site: Console, path: str) -> Path:
    return site.runtime.settings.data_dir / "uploads" / path.rpartition("/")[2]


async def sent(visitor: Visitor, path: str, **said: str) -> str:
    """The page of what was sent, once it has come to rest."""
    await visitor.get(path, **said)
    answer = await visitor.post(f"{path}/send", {"seen": str(httpx2.QueryParams(said)), **said})
    assert (answer.status_code, answer.headers["location"]) == (303, path), answer.text
    return await rested(visitor, path)


async def rested(visitor: Visitor, path: str) -> str:
    page = ""

    async def is_at_rest() -> bool:
        nonlocal page
        page = (await visitor.get(path)).text
        return "being sent" not in page

    await eventually(is_at_rest, "it comes to rest")
    return page


async def received(site: Console) -> list[dict[str, Any]]:
    return [json.loads(record.value) for record in await site.world.records(RECEIVED) if record.value]


async def audited(site: Console) -> list[tuple[str, str, str]]:
    rows = await site.queries.rows("SELECT * FROM published.audit WHERE action LIKE 'import%' ORDER BY id")
    return [(row["person"], row["action"], row["detail"]) for row in rows]


def number(page: str, label: str) -> int:
    found = re.search(rf"<dt>{label}</dt><dd>(?:<strong>)?([\d,]+)", page)
    assert found, (label, page)
    return int(found[1].replace(",", ""))


# ── looking ──


async def test_a_preview_says_what_the_file_is_and_what_would_come_of_it_and_sends_nothing(site: Console) -> None:
    max_ = await lead(site)
    path = await brought(max_, CHINESE.encode("gb18030"), "去年.csv")
    page = await max_.get(path)
    assert page.status_code == 200
    for words in (
        "去年.csv",
        "GB18030 (GBK, GB2312)",
        "reads most naturally so",
        "评论内容",
        "What was said",
        "score.nps",
        "An attribute",
        "its name and values",
        "更新之后闪退了",
        "NPS 9",
        "<bdi>门店</bdi>: <bdi>一</bdi>",
        "Row 3",
        "推荐意愿: must be from 0 to 10 for nps",
        f"Send {GOOD} rows",
    ):
        assert words in page.text, words
    assert (number(page.text, "Would be sent"), number(page.text, "Refused")) == (GOOD, 1)
    assert await received(site) == []
    assert await audited(site) == [("max@example.com", "import.uploaded", "去年.csv")]
    assert "not sent" in (await max_.get("/imports")).text
    chinese = await (await lead(site, "zh-CN")).get(path)
    for words in ("识别结果", "逗号", "反馈内容", "列名和内容", f"发送 {GOOD} 行"):
        assert words in chinese.text, words


DELIGHTED = (
    "ID,Email,Score,Comment,Survey Type,Delighted Source\n71,ann@example.com,9,Smooth all the way,nps,Email\n"
    "72,bo@example.com,1,Nobody answers,nps,Link\n"
)


async def test_an_export_of_a_tool_is_known_and_somebody_may_know_better(site: Console) -> None:
    max_ = await lead(site)
    path = await brought(max_, DELIGHTED, "delighted.csv")
    page = (await max_.get(path)).text
    assert re.search(r"<dt>Looks like an export of</dt><dd><strong><bdi>Delighted</bdi>", page)
    assert "as the tool calls it" in page
    chinese = (await (await lead(site, "zh-CN")).get(path)).text
    assert "识别为其导出" in chinese
    assert "该工具的列名" in chinese
    plain = (await max_.get(path, tool="none")).text
    assert "Looks like an export of" not in plain
    assert '<option value="none" selected>' in plain
    wrong = await max_.get(path, tool="typeform")
    assert wrong.status_code == 422
    assert "its columns are not those of Typeform" in wrong.text
    await sent(max_, path)
    said = {event["external_id"]: event for event in await received(site)}
    assert {name: (one["channel"], one["solicited"], one["scores"]) for name, one in said.items()} == {
        "71": ("survey", True, [{"metric": "nps", "value": 9}]),
        "72": ("survey", True, [{"metric": "nps", "value": 1}]),
    }


async def test_what_somebody_says_instead_stands_in_the_address_and_is_looked_at_again(site: Console) -> None:
    max_ = await lead(site)
    path = await brought(max_, "a;b\nfine, really;3\nso, so;2\n", "x.csv")
    await max_.get(path)
    answer = await max_.post(
        path, {"delimiter": "semicolon", "c0": "text", "c1": "score.stars", "source": "shop", "zone": "", "other": "x"}
    )
    address = answer.headers["location"]
    assert (answer.status_code, address.partition("?")[0]) == (303, path)
    said = {"delimiter": "semicolon", "c0": "text", "c1": "score.stars", "source": "shop"}
    assert dict(httpx2.QueryParams(address.partition("?")[2])) == said
    for _ in range(2):  # it can be reloaded
        page = await max_.get(address)
        assert page.status_code == 200
        assert '<option value="score.stars" selected>' in page.text
        assert "STARS 3" in page.text
        assert "<bdi>Source</bdi>: <bdi>shop</bdi>" in page.text
    left_out = await max_.get(path, c0="ignore", c1="score.stars", delimiter="semicolon")
    assert "fine, really</span>" not in left_out.text


async def test_a_sheet_is_chosen_and_the_others_are_named(site: Console) -> None:
    import xlsxwriter

    made = io.BytesIO()
    book = xlsxwriter.Workbook(made)
    for name, said in (("First", "one comment"), ("Second", "another comment")):
        sheet = book.add_worksheet(name)
        sheet.write_column(0, 0, ["comment", said])
    book.close()
    max_ = await lead(site)
    path = await brought(max_, made.getvalue(), "book.xlsx")
    first, second = await max_.get(path), await max_.get(path, sheet="Second")
    assert '<option value="Second">' in first.text
    assert "one comment" in first.text
    assert "another comment" in second.text
    none = await max_.get(path, sheet="Third")
    assert none.status_code == 422
    assert "there is no sheet" in none.text


@pytest.mark.parametrize(
    ("content", "name", "said", "says"),
    [
        (bytes(range(1, 32)) * 50, "a.csv", {}, "it is no text"),
        (b"%PDF-1.7 ...", "a.pdf", {}, "it is a PDF"),
        (b"PK\x03\x04 broken", "a.xlsx", {}, "it is damaged"),
        (b'[{"text": "a"}]', "a.json", {}, "it is one JSON array"),
        (b"a,b\n1,2\n3,4\n", "a.csv", {}, "no column looks like what was said"),
        (PLAIN.encode(), "a.csv", {"encoding": "klingon"}, "is not an encoding"),
        (PLAIN.encode(), "a.csv", {"zone": "Mars/Olympus"}, "is not a time zone"),
        (PLAIN.encode(), "a.csv", {"c0": "score.karma"}, "is not a known metric"),
        (PLAIN.encode(), "a.csv", {"c0": "<b>"}, "there is no &#39;&lt;b&gt;&#39;"),
        (b"comment,date\nfine,03/04/2025\n", "a.csv", {}, "may be day/month or month/day"),
    ],
)
async def test_what_cannot_be_imported_says_why_and_offers_no_sending(
    site: Console, content: bytes, name: str, said: dict[str, str], says: str
) -> None:
    max_ = await lead(site)
    page = await max_.get(await brought(max_, content, name), **said)
    assert page.status_code == 422
    assert says in page.text
    assert "/send" not in page.text
    assert str(site.runtime.settings.data_dir) not in page.text


async def test_columns_that_were_not_recognised_can_be_named(site: Console) -> None:
    max_ = await lead(site)
    path = await brought(max_, b"a,b\n1,2\n3,4\n")
    assert 'name="c1"' in (await max_.get(path)).text
    page = await max_.get(path, c1="score.nps")
    assert (page.status_code, number(page.text, "Would be sent")) == (200, 2)


async def test_a_long_file_is_counted_beside_and_the_page_follows(
    site: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "WAITED_FOR_S", 0.0)
    monkeypatch.setattr(imports, "READ_AT_ONCE_S", 0.001)
    max_ = await lead(site)
    path = await brought(max_, "comment\n" + "".join(f"comment number {n}\n" for n in range(20_000)))
    page = (await max_.get(path)).text
    assert '<noscript><meta http-equiv="refresh"' in page
    assert 'hx-trigger="every 2s"' in page

    async def counted() -> bool:
        nonlocal page
        page = (await max_.get(path)).text
        return "http-equiv" not in page

    await eventually(counted, "all is counted")
    assert number(page, "Would be sent") == 20_000


# ── sending ──


async def test_what_is_sent_is_history_in_ones_name_counted_and_its_refusals_can_be_mended(site: Console) -> None:
    max_ = await lead(site)
    path = await brought(max_, CHINESE.encode("gb18030"), "去年.csv")
    page = await sent(max_, path)
    assert ">done<" in page
    assert (number(page, "New"), number(page, "Here already"), number(page, "Refused")) == (GOOD, 0, 1)
    found = await received(site)
    assert {one["external_id"] for one in found} == {"R1", *(f"R{n + 2}" for n in range(1, GOOD))}
    assert all(one["source"] == "去年" and one["history"] for one in found)
    assert await audited(site) == [
        ("max@example.com", "import.uploaded", "去年.csv"),
        ("max@example.com", "import.started", "去年.csv"),
        ("max@example.com", "import.finished", f"去年.csv: {GOOD} new, 0 here already, 0 twice, 1 refused"),
    ]
    assert not (folder(site, path) / "content").exists(), "it is somebody's customers"

    file = await max_.get(f"{path}/refused")
    assert (file.status_code, file.headers["content-type"]) == (200, "application/octet-stream")
    assert file.headers["content-disposition"] == "attachment; filename*=UTF-8''%E5%8E%BB%E5%B9%B4.refused.csv"
    assert file.headers["x-content-type-options"] == "nosniff"
    lines = list(csv.reader(io.StringIO(file.content.decode("utf-8-sig"), newline="")))
    assert lines[1] == ["R2", "物流太慢了", "99", "2025/3/29", "二", "3", "", "推荐意愿: must be from 0 to 10 for nps"]
    mended = await brought(max_, file.content.replace(b",99,", b",9,"), "去年.refused.csv")
    page = await sent(max_, mended)
    assert (number(page, "New"), number(page, "Refused")) == (1, 0)
    assert {one["source"] for one in await received(site)} == {"去年"}
    assert "/refused" not in page
    assert (await max_.get(f"{mended}/refused")).status_code == 404


async def test_only_what_was_looked_at_is_sent(site: Console) -> None:
    max_ = await lead(site)
    path = await brought(max_, PLAIN)
    await max_.get(path)
    answer = await max_.post(f"{path}/send", {"seen": "", "source": "shop"})
    assert answer.headers["location"] == f"{path}?source=shop"
    assert "You changed something" in (await max_.get(answer.headers["location"])).text
    assert await received(site) == []
    page = await sent(max_, path, source="shop")
    assert number(page, "New") == 2
    assert {one["source"] for one in await received(site)} == {"shop"}
    again = await max_.post(f"{path}/send", {"seen": ""})
    assert again.status_code == 409
    assert len(await received(site)) == 2


async def test_it_stops_and_goes_on_and_nothing_is_lost_or_doubled(
    site: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another goes on than began; and what a restart leaves is what a stop leaves."""
    rows, reached, open_ = 6_000, asyncio.Event(), asyncio.Event()
    post = held_up(site, after=2, reached=reached, until=open_)
    monkeypatch.setattr(httpx2.AsyncClient, "post", post)
    max_ = await lead(site)
    text = "id,comment\n" + "".join(f"R{n},comment number {n}\n" for n in range(rows))
    path = await brought(max_, text, "long.csv")
    await max_.get(path)
    await max_.post(f"{path}/send", {"seen": ""})
    await asyncio.wait_for(reached.wait(), 30)
    page = (await max_.get(path)).text
    assert "being sent" in page
    assert "<progress" in page
    assert '<noscript><meta http-equiv="refresh"' in page
    assert (await max_.post(f"{path}/remove")).status_code == 409
    assert (await max_.post(f"{path}/go-on")).status_code == 409
    assert (await max_.post(f"{path}/stop")).status_code == 303
    page = (await max_.get(path)).text
    assert ">stopped<" in page
    assert "Go on" in page
    assert (await max_.post(f"{path}/stop")).status_code == 409
    open_.set()

    ada = await site.sign_in("ada@example.com")
    await ada.get(path)
    assert (await ada.post(f"{path}/go-on")).status_code == 303
    page = await rested(ada, path)
    assert ">done<" in page
    assert number(page, "New") + number(page, "Here already") == rows
    ids = {one["external_id"] for one in await received(site)}
    assert ids == {f"R{n}" for n in range(rows)}
    assert [entry[:2] for entry in await audited(site)] == [
        ("max@example.com", "import.uploaded"),
        ("max@example.com", "import.started"),
        ("max@example.com", "import.stopped"),
        ("ada@example.com", "import.started"),
        ("ada@example.com", "import.finished"),
    ]


def held_up(site: Console, after: int, reached: asyncio.Event, until: asyncio.Event) -> Callable[..., Awaitable[Any]]:
    """Batches go through, and from then on wait: so that an import is seen under way."""
    post, count = httpx2.AsyncClient.post, 0

    async def wrapped(self: httpx2.AsyncClient, url: str, **given: Any) -> httpx2.Response:
        nonlocal count
        if "history=true" in str(url):
            count += 1
            if count > after:
                reached.set()
                await until.wait()
        return await post(self, url, **given)

    return wrapped


async def test_a_restart_leaves_it_where_it_can_be_gone_on_with(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, open_ = asyncio.Event(), asyncio.Event()
    text = "id,comment\n" + "".join(f"R{n},comment number {n}\n" for n in range(6_000))
    with monkeypatch.context() as patched:
        async with console(database_url, tmp_path) as before:
            patched.setattr(httpx2.AsyncClient, "post", held_up(before, 2, reached, open_))
            max_ = await lead(before)
            path = await brought(max_, text, "long.csv")
            await max_.get(path)
            await max_.post(f"{path}/send", {"seen": ""})
            await asyncio.wait_for(reached.wait(), 30)
    async with console(database_url, tmp_path) as after:
        max_ = await lead(after)
        assert ">stopped<" in (await max_.get(path)).text
        await max_.post(f"{path}/go-on")
        page = await rested(max_, path)
        assert ">done<" in page
        assert {one["external_id"] for one in await received(after)} == {f"R{n}" for n in range(6_000)}


async def test_whoever_is_no_lead_any_more_sends_no_more(site: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    reached, open_ = asyncio.Event(), asyncio.Event()
    monkeypatch.setattr(httpx2.AsyncClient, "post", held_up(site, 1, reached, open_))
    max_ = await lead(site)
    path = await brought(max_, "id,comment\n" + "".join(f"R{n},comment {n}\n" for n in range(9_000)))
    await max_.get(path)
    await max_.post(f"{path}/send", {"seen": ""})
    await asyncio.wait_for(reached.wait(), 30)
    await site.service.configure(with_people(PEOPLE.replace(", role: lead", "")))
    open_.set()
    ada = await site.sign_in("ada@example.com")
    page = await rested(ada, path)
    assert ">stopped<" in page
    assert "max@example.com may not import any more" in page
    assert len(await received(site)) < 9_000


async def test_a_service_that_is_away_is_said_and_nothing_is_lost(
    site: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.files.sending.PATIENCE_S", 0.1)
    ingest = engine(site)._ingest
    monkeypatch.setattr(ingest, "url", "http://127.0.0.1:9")
    max_ = await lead(site)
    path = await brought(max_, PLAIN)
    page = await sent(max_, path)
    assert ">stopped<" in page
    assert "nobody answers at http://127.0.0.1:9" in page
    monkeypatch.setattr(ingest, "url", site.url)
    assert (await max_.post(f"{path}/go-on")).status_code == 303
    assert number(await rested(max_, path), "New") == 2


async def test_another_process_that_sends_it_is_seen(site: Console) -> None:
    max_ = await lead(site)
    path = await brought(max_, PLAIN)
    await sent(max_, path)
    upload = engine(site).uploads.find("default", path.rpartition("/")[2])
    checkpoint = upload.checkpoint
    checkpoint.finished = False
    checkpoint.save()
    with checkpoint.held():
        page = (await max_.get(path)).text
        assert "Another process of this console is sending it" in page
        for what in ("stop", "remove", "go-on"):
            assert (await max_.post(f"{path}/{what}")).status_code == 409, what
    assert ">stopped<" in (await max_.get(path)).text


async def test_what_is_removed_is_gone_and_what_was_left_too_long_goes(site: Console) -> None:
    max_ = await lead(site)
    first, second, third = [await brought(max_, PLAIN, f"{n}.csv") for n in range(3)]
    assert (await max_.post(f"{first}/remove")).status_code == 303
    assert not folder(site, first).exists()
    assert (await audited(site))[-1] == ("max@example.com", "import.removed", "0.csv")
    gone = await max_.get(first)
    assert gone.status_code == 404
    assert "lies in the data folder of the console that took it" in gone.text
    uploads_ = engine(site).uploads
    old = uploads_.find("default", second.rpartition("/")[2])
    uploads_.keep(replace(old, at=old.at - KEPT - timedelta(minutes=1)))
    listed = (await max_.get("/imports")).text
    assert (second in listed, third in listed) == (False, True)
    assert not folder(site, second).exists()


# ── who may not, and what is no upload ──


async def test_only_leads_may(site: Console) -> None:
    max_ = await lead(site)
    path = await brought(max_, PLAIN)
    li = await site.sign_in("li@example.com")
    nobody = await site.nobody()
    assert "/imports" not in (await li.get("/cases")).text
    for place in ("/imports", path, f"{path}/refused"):
        assert (await li.get(place)).status_code == 403
        assert (await nobody.get(place)).headers["location"].startswith("/login?next=/imports")
    for place in ("/imports", path, *(f"{path}/{what}" for what in ("send", "go-on", "stop", "remove"))):
        assert (await li.post(place)).status_code == 403
        assert (await nobody.post(place)).headers["location"] == "/login"
    assert (await bring(li, PLAIN)).status_code == 403
    assert [one.id for one in engine(site).uploads.of("default")] == [path.rpartition("/")[2]]
    assert engine(site).uploads.of("acme") == []
    assert await received(site) == []


async def test_a_form_of_somebody_elses_is_refused_before_the_file_is_kept(site: Console) -> None:
    max_ = await lead(site)
    path = await brought(max_, PLAIN)
    for answer in (
        await max_.http.post("/imports", data={"csrf": "0" * 64}, files={"file": ("a.csv", b"comment\na\n")}),
        await max_.http.post("/imports", files={"file": ("a.csv", b"comment\na\n")}),
        await max_.http.post("/imports", files={"x": (None, "no file, no token")}),
        await bring(max_, PLAIN, headers={"sec-fetch-site": "cross-site"}),
        *[
            await max_.http.post(where, data={"csrf": "0" * 64})
            for where in (path, *(f"{path}/{what}" for what in ("send", "go-on", "stop", "remove")))
        ],
    ):
        assert answer.status_code == 403, answer.text
        assert "not from your session" in answer.text
    assert len(list((site.runtime.settings.data_dir / "uploads").iterdir())) == 1


async def test_what_is_no_upload_is_refused_and_leaves_nothing(site: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_BYTES", 100_000)
    max_ = await lead(site)
    csrf = f'--b\r\nContent-Disposition: form-data; name="csrf"\r\n\r\n{max_.csrf}\r\n'.encode()
    form = {"content-type": "multipart/form-data; boundary=b"}
    file = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
    for answer, status, says in (
        (await bring(max_, b"x" * 100_001), 413, "At most 100,000 bytes"),
        (await bring(max_, b"x" * 5_000_000), 413, "flywheel import"),
        (await bring(max_, b""), 422, "The file is empty"),
        (await max_.post("/imports"), 400, "multipart/form-data"),
        (await max_.http.post("/imports", content=csrf + b"--b--\r\n", headers=form), 422, "No file was chosen"),
        (
            await max_.http.post(
                "/imports", content=csrf + file.replace(b"a.csv", b"") + b"\r\n--b--\r\n", headers=form
            ),
            422,
            "No file was chosen",
        ),
        (await max_.http.post("/imports", content=csrf + file + b"comment\na", headers=form), 400, "in the middle"),
        (
            await max_.http.post("/imports", content=csrf + file + b"x\r\n" + file + b"y\r\n--b--\r\n", headers=form),
            400,
            "One file at a time",
        ),
        (await max_.http.post("/imports", content=b"nonsense", headers=form), 400, "could not be read"),
        (
            await max_.http.post("/imports", content=csrf.replace(max_.csrf.encode(), b"c" * 5_000), headers=form),
            400,
            "too long",
        ),
    ):
        assert (answer.status_code, says in answer.text) == (status, True), (status, says, answer.text)
    assert list((site.runtime.settings.data_dir / "uploads").iterdir()) == []


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("..\\..\\evil.csv", "evil.csv"),
        ("../../etc/passwd", "passwd"),
        ("<b>x</b>.csv", "b&gt;.csv"),
        (".csv", "csv"),
        ("..", "file"),
    ],
)
async def test_a_files_name_is_only_a_name(site: Console, given: str, shown: str) -> None:
    max_ = await lead(site)
    path = await brought(max_, PLAIN, given)
    assert f"<h1><bdi>{shown}</bdi></h1>" in (await max_.get(path)).text
    assert [one.name for one in folder(site, path).parent.iterdir()] == [path.rpartition("/")[2]]


@pytest.mark.parametrize(
    "upload_id", ["0" * 32, "nothing", "%2e%2e", "..%2f..%2fsecret", "0" * 31 + "%00", "A" * 32, "0" * 33]
)
async def test_an_address_of_nothing_leads_nowhere(site: Console, upload_id: str) -> None:
    max_ = await lead(site)
    (site.runtime.settings.data_dir / "upload.json").write_text("{}")
    for answer in (
        await max_.get(f"/imports/{upload_id}"),
        await max_.get(f"/imports/{upload_id}/refused"),
        await max_.post(f"/imports/{upload_id}/send"),
        await max_.post(f"/imports/{upload_id}/remove"),
    ):
        assert answer.status_code in (400, 404), answer.text


def test_what_an_address_says_of_a_file() -> None:
    given = httpx2.QueryParams(
        "encoding=gb18030&header=no&c0=text&c12=ignore&c99999=text&cx=1&csrf=abc&zone=&sheet=%20"
    )
    said = said_in(given)  # type: ignore[arg-type]
    assert said == {"encoding": "gb18030", "header": "no", "c0": "text", "c12": "ignore"}
    options = options_of(said)
    assert (options.encoding, options.header, options.places) == ("gb18030", False, ((0, "text"), (12, "ignore")))
    assert (options.delimiter, options.sheet, options.zone, options.mapping) == (None, None, None, ())
