"""Exports of tools as they come: known by their columns, read as what they mean, and what is wrong in them named.

The samples are of our own writing, in the shapes that shared/files/tools/ says where it has from.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from shared.errors import Misuse
from shared.events.feedback import METRIC_RANGES
from shared.files.look import Options, look
from shared.files.reading import Empty, Item, Look, Ready, Refused
from shared.files.refused import Refusals
from shared.files.tools import form_of, tools

Body = Mapping[str, Any]


class Sample(NamedTuple):
    tool: str
    name: str
    content: str
    bodies: Sequence[Body]
    refused: Sequence[tuple[int, str]]
    """(row, what its reason holds)"""
    codec: str = "utf-8"
    empty: int = 0


def lines(*objects: Mapping[str, Any]) -> str:
    return "".join(json.dumps(one) + "\n" for one in objects)


GOOGLE = """Package Name,App Version Code,App Version Name,Reviewer Language,Device,Review Submit Date and Time,Review Submit Millis Since Epoch,Review Last Update Date and Time,Review Last Update Millis Since Epoch,Star Rating,Review Title,Review Text,Developer Reply Date and Time,Developer Reply Millis Since Epoch,Developer Reply Text,Review Link
com.example.app,210,2.1,zh-CN,star2,2026-09-01T08:00:00Z,1788249600000,2026-09-02T08:00:00Z,1788336000000,2,,更新之后闪退,,,,https://play.google.com/console/developers/app/user-feedback/review-details?reviewId=gp%3AAOq-1&corpus=PUBLIC
com.example.app,210,2.1,en,,2026-09-01T08:00:00Z,1788249600000,2026-09-01T08:00:00Z,1788249600000,5,Love it,Does what it says,,,,http://play.google.com/apps/publish?account=1#ReviewDetailsPlace:p=com.example.app&reviewid=x
com.example.app,210,2.1,de,,2026-09-03T08:00:00Z,1788422400000,2026-09-03T08:00:00Z,1788422400000,4,,,,,,
com.example.app,210,2.1,en,,2026-09-03T08:00:00Z,1788422400000,2026-09-03T08:00:00Z,1788422400000,9,,Nine stars,,,,
"""
KEPT_OF_GOOGLE = {"Package Name": "com.example.app", "App Version Code": "210", "App Version Name": "2.1"}
REVIEW = {"channel": "review", "solicited": False}
SURVEY = {"channel": "survey", "solicited": True}

TYPEFORM = """#,How likely are you to recommend us to a friend?,What could we do better?,Your e-mail address,Response Type,Start Date (UTC),Stage Date (UTC),Submit Date (UTC),Network ID,Tags,Ending
odwdp4nzj1,9,More templates please,ann@example.com,completed,2026-03-04 02:39:31,,2026-03-04 02:41:38,653e97acae,,end
7jx2kq0w1z,2,It crashes when I export,,completed,2026-03-05 02:39:31,,2026-03-05 02:41:38,753e97acae,,end
8jx2kq0w1z,soon,Will tell you later on,,completed,2026-03-05 02:39:31,,2026-03-05 02:41:38,753e97acae,,end
9jx2kq0w1z,10,,,completed,2026-03-05 02:39:31,,2026-03-05 02:41:38,753e97acae,,end
""" + "".join(
    f"filler{n},{n % 11},Filler number {n} says something,,completed,2026-03-06 02:39:31,,2026-03-06 02:41:38,8,,end\n"
    for n in range(30)
)

MONKEY = """Respondent ID,Collector ID,Start Date,End Date,IP Address,Email Address,First Name,Last Name,Custom Data 1,How likely is it that you would recommend us?,What could we improve?,Which of these do you use?,,
,,,,,,,,,Response,Open-Ended Response,Web,Phone,Other (please specify)
114001,42,06/21/2026 10:00:01 AM,06/21/2026 10:04:00 AM,203.0.113.9,ann@example.com,Ann,Li,,9,Nothing at all thank you,Web,,
114002,42,06/22/2026 10:00:01 AM,06/22/2026 10:04:00 AM,203.0.113.9,,,,,3,The bill is hard to read,,Phone,Fax
114003,42,06/22/2026 10:00:01 AM,31/31/2026 10:04:00 AM,203.0.113.9,,,,,3,On a day that there is not,,,
"""

DELIGHTED = """ID,Email,Name,Score,Comment,Survey Type,Created At,Delighted Source,Delighted Device Type
71,ann@example.com,Ann,10,Smooth from start to end,nps,2026-02-03T10:00:00Z,Email,desktop
72,bo@example.com,,0,Nobody answers the phone,nps,2026-02-03T11:00:00Z,Link,mobile
73,cy@example.com,,11,Eleven of ten for all of it,nps,2026-02-03T11:00:00Z,Link,mobile
"""

SAMPLES = [
    Sample(
        "google_play", "reviews_com.example.app_202609.csv", GOOGLE,
        [
            {"external_id": "gp:AOq-1/1788336000000", "text": "更新之后闪退", "scores": [{"metric": "stars", "value": 2}], "language": "zh-CN", "occurred_at": "2026-09-02T08:00:00.000Z", "url": "https://play.google.com/console/developers/app/user-feedback/review-details?reviewId=gp%3AAOq-1&corpus=PUBLIC", "attributes": KEPT_OF_GOOGLE | {"Device": "star2", "submitted_at": "2026-09-01T08:00:00Z"}, **REVIEW},
            {"text": "Does what it says", "title": "Love it", "scores": [{"metric": "stars", "value": 5}], "language": "en", "occurred_at": "2026-09-01T08:00:00.000Z", "url": "http://play.google.com/apps/publish?account=1#ReviewDetailsPlace:p=com.example.app&reviewid=x", "attributes": KEPT_OF_GOOGLE | {"submitted_at": "2026-09-01T08:00:00Z"}, **REVIEW},
            {"scores": [{"metric": "stars", "value": 4}], "language": "de", "occurred_at": "2026-09-03T08:00:00.000Z", "attributes": KEPT_OF_GOOGLE | {"submitted_at": "2026-09-03T08:00:00Z"}, **REVIEW},
        ],
        [(5, "Star Rating")], "utf-16",
    ),
    Sample(
        "app_store", "reviews.csv",
        "id,rating,title,body,reviewerNickname,createdDate,territory\n"
        "00000a1,1,Broken,Crashes since the update,小王,2026-05-01T03:04:05-07:00,CHN\n"
        "00000a2,5,,Just right for me,Kim,2026-05-02T03:04:05-07:00,USA\n"
        "00000a3,5,,Written on no day,Kim,yesterday,USA\n",
        [
            {"external_id": "00000a1", "title": "Broken", "text": "Crashes since the update", "scores": [{"metric": "stars", "value": 1}], "customer": {"name": "小王"}, "occurred_at": "2026-05-01T10:04:05.000Z", "attributes": {"territory": "CHN"}, **REVIEW},
            {"external_id": "00000a2", "text": "Just right for me", "scores": [{"metric": "stars", "value": 5}], "customer": {"name": "Kim"}, "occurred_at": "2026-05-02T10:04:05.000Z", "attributes": {"territory": "USA"}, **REVIEW},
        ],
        [(4, "createdDate: “yesterday” is not a date")],
    ),
    Sample(
        "appfollow", "appfollow.csv",
        "review_id,store,ext_id,date,time,rating,title,content,author,country,app_version\n"
        "9001,as,389801252,2026-05-01,10:00:00,3,So so,Works but slow on my phone,Pat,us,3.2\n"
        "9002,gp,com.example.app,2026-05-01,10:00:00,,,No stars and a lot of words,Sam,,3.2\n"
        "9003,gp,com.example.app,2026-05-01,10:00:00,six,,Six is not a number of stars,Sam,,3.2\n",
        [
            {"external_id": "9001", "title": "So so", "text": "Works but slow on my phone", "scores": [{"metric": "stars", "value": 3}], "customer": {"name": "Pat"}, "occurred_at": "2026-05-01T00:00:00.000Z", "attributes": {"store": "as", "ext_id": "389801252", "country": "us", "app_version": "3.2"}, **REVIEW},
            {"external_id": "9002", "text": "No stars and a lot of words", "customer": {"name": "Sam"}, "occurred_at": "2026-05-01T00:00:00.000Z", "attributes": {"store": "gp", "ext_id": "com.example.app", "app_version": "3.2"}, **REVIEW},
        ],
        [(4, "rating: “six” is not a number, as a score of stars is")],
    ),
    Sample(
        "typeform", "responses.csv", TYPEFORM,
        [
            {"external_id": "odwdp4nzj1", "text": "More templates please", "scores": [{"metric": "nps", "value": 9}], "customer": {"email": "ann@example.com"}, "occurred_at": "2026-03-04T02:41:38.000Z", "attributes": {"response_type": "completed"}, **SURVEY},
            {"external_id": "7jx2kq0w1z", "text": "It crashes when I export", "scores": [{"metric": "nps", "value": 2}], "occurred_at": "2026-03-05T02:41:38.000Z", "attributes": {"response_type": "completed"}, **SURVEY},
            {"external_id": "9jx2kq0w1z", "scores": [{"metric": "nps", "value": 10}], "occurred_at": "2026-03-05T02:41:38.000Z", "attributes": {"response_type": "completed"}, **SURVEY},
        ],
        [(4, "“soon” is not a number, as a score of nps is")],
    ),
    Sample(
        "surveymonkey", "Survey.csv", MONKEY,
        [
            {"external_id": "114001", "text": "Nothing at all thank you", "scores": [{"metric": "nps", "value": 9}], "customer": {"email": "ann@example.com", "name": "Ann Li"}, "occurred_at": "2026-06-21T10:04:00.000Z", "attributes": {"collector_id": "42", "Which of these do you use? – Web": "Web"}, **SURVEY},
            {"external_id": "114002", "text": "The bill is hard to read", "scores": [{"metric": "nps", "value": 3}], "occurred_at": "2026-06-22T10:04:00.000Z", "attributes": {"collector_id": "42", "Which of these do you use? – Phone": "Phone", "Which of these do you use? – Other (please specify)": "Fax"}, **SURVEY},
        ],
        [(5, "End Date: “31/31/2026 10:04:00 AM”")],
    ),
    Sample(
        "delighted", "delighted.csv", DELIGHTED,
        [
            {"external_id": "71", "text": "Smooth from start to end", "scores": [{"metric": "nps", "value": 10}], "customer": {"email": "ann@example.com", "name": "Ann"}, "occurred_at": "2026-02-03T10:00:00.000Z", "attributes": {"survey_type": "nps", "Delighted Source": "Email", "Delighted Device Type": "desktop"}, **SURVEY},
            {"external_id": "72", "text": "Nobody answers the phone", "scores": [{"metric": "nps", "value": 0}], "customer": {"email": "bo@example.com"}, "occurred_at": "2026-02-03T11:00:00.000Z", "attributes": {"survey_type": "nps", "Delighted Source": "Link", "Delighted Device Type": "mobile"}, **SURVEY},
        ],
        [(4, "Score: ")],
    ),
    Sample(
        "delighted", "responses.jsonl",
        lines(
            {"id": "1", "person": "10", "survey_type": "csat", "score": 4, "comment": None, "permalink": "https://app.delighted.com/r/a", "created_at": 1769940000, "updated_at": None, "person_properties": {"country": "USA"}},
            {"id": "2", "person": "11", "survey_type": "csat", "score": 9, "comment": "Nine", "permalink": "https://app.delighted.com/r/b", "created_at": 1769940000, "updated_at": None, "person_properties": {}},
        ),
        [{"external_id": "1", "scores": [{"metric": "csat", "value": 4}], "customer": {"id": "10"}, "url": "https://app.delighted.com/r/a", "occurred_at": "2026-02-01T10:00:00.000Z", "attributes": {"survey_type": "csat", "person_properties.country": "USA"}, **SURVEY}],
        [(2, "score: ")],
    ),
    Sample(
        "zendesk", "tickets.json",
        lines(
            {"id": 35436, "url": "https://acme.zendesk.com/api/v2/tickets/35436.json", "subject": "Printer", "raw_subject": "Printer", "description": "It does not print in colour", "requester_id": 20978392, "created_at": "2026-04-01T10:00:00Z", "updated_at": "2026-04-02T10:00:00Z", "status": "solved", "via": {"channel": "web"}, "satisfaction_rating": {"score": "good", "comment": "Quick!", "id": 7}, "comments": [{"body": "said by an agent", "public": False}]},
            {"id": 35437, "subject": "Refund", "raw_subject": "Refund", "description": "Where is my money", "requester_id": 20978393, "created_at": "2026-04-01T10:00:00Z", "updated_at": "2026-04-02T10:00:00Z", "status": "open", "via": {"channel": "email"}, "satisfaction_rating": {"score": "offered"}},
            {"id": 35438, "subject": "Refund", "description": "Where is it", "requester_id": 20978393, "created_at": "never"},
        ),
        [
            {"external_id": "35436", "title": "Printer", "text": "It does not print in colour", "customer": {"id": "20978392"}, "occurred_at": "2026-04-01T10:00:00.000Z", "scores": [{"metric": "hmd", "value": 1}], "attributes": {"status": "solved", "via.channel": "web", "satisfaction_comment": "Quick!"}, "channel": "ticket"},
            {"external_id": "35437", "title": "Refund", "text": "Where is my money", "customer": {"id": "20978393"}, "occurred_at": "2026-04-01T10:00:00.000Z", "attributes": {"status": "open", "via.channel": "email"}, "channel": "ticket"},
        ],
        [(3, "created_at: “never” is not a date")],
    ),
    Sample(
        "zendesk", "export.csv",
        "Summation column,Id,Requester,Requester id,Requester email,Subject,Tags,Status,Via,Created at,Organization,Satisfaction Score\n"
        "1,901,Ann Li,77,ann@example.com,I cannot log in any more,login web,Closed,Mail,2026-04-01 10:00,Acme,Bad\n"
        "1,902,Bo,78,bo@example.com,Thank you all,,Closed,Mail,2026-04-01 10:00,,Not Offered\n"
        "1,903,Cy,79,cy@example.com,When was that,,Closed,Mail,some day,,Good\n",
        [
            {"external_id": "901", "text": "I cannot log in any more", "customer": {"id": "77", "name": "Ann Li", "email": "ann@example.com", "account_id": "Acme"}, "occurred_at": "2026-04-01T10:00:00.000Z", "scores": [{"metric": "hmd", "value": 0}], "attributes": {"Tags": "login web", "Status": "Closed", "via": "Mail"}, "channel": "ticket"},
            {"external_id": "902", "text": "Thank you all", "customer": {"id": "78", "name": "Bo", "email": "bo@example.com"}, "occurred_at": "2026-04-01T10:00:00.000Z", "attributes": {"Status": "Closed", "via": "Mail"}, "channel": "ticket"},
        ],
        [(4, "Created at: “some day” is not a date")],
    ),
    Sample(
        "intercom", "conversations.jsonl",
        lines(
            {"type": "conversation", "id": "501", "created_at": 1775037600, "updated_at": 1775037900, "state": "closed", "source": {"type": "conversation", "id": "9", "subject": "", "body": "<p>Is there a dark mode?</p><p>My eyes &amp; I</p>", "author": {"type": "user", "id": "u-1", "name": "Ann", "email": "ann@example.com"}}, "conversation_rating": {"rating": 5, "remark": "Kind"}},
            {"type": "conversation", "id": "502", "created_at": 1775037600, "updated_at": 1775037900, "state": "closed", "source": {"type": "conversation", "id": "10", "subject": "Our news", "body": "<p>We have news</p>", "author": {"type": "admin", "id": "a-1", "name": "Us", "email": "us@example.com"}}},
            {"type": "conversation", "id": "503", "created_at": 1775037600, "updated_at": 1775037900, "state": "closed", "source": {"type": "conversation", "id": "11", "subject": "", "body": "<p>Hm</p>", "author": {"type": "lead", "id": "u-3"}}, "conversation_rating": {"rating": 7}},
        ),
        [{"external_id": "501", "text": "Is there a dark mode?\nMy eyes & I", "customer": {"id": "u-1", "name": "Ann", "email": "ann@example.com"}, "occurred_at": "2026-04-01T10:00:00.000Z", "scores": [{"metric": "csat", "value": 5}], "attributes": {"state": "closed", "source.type": "conversation", "source.id": "9", "source.author.type": "user", "remark": "Kind"}, "channel": "chat"}],
        [(3, "conversation_rating.rating: ")], empty=1,
    ),
    Sample(
        "intercom", "export.csv",
        "message_id,message_body,message_type,message_created_at,message_author_type,message_author_id,message_author_user_id,message_author_name,message_author_email,message_author_companies,conversation_tags,conversation_id,conversation_state,conversation_created_at\n"
        "m1,Where do I change my plan?,conversation_message,2026-04-01 10:00:00,user,5a,u-1,Ann,ann@example.com,Acme,plan,501,closed,2026-04-01 10:00:00\n"
        "m2,In the settings,comment,2026-04-01 10:05:00,admin,1b,,Us,us@example.com,,plan,501,closed,2026-04-01 10:00:00\n"
        "m3,Found it,comment,late,user,5a,u-1,Ann,ann@example.com,,plan,501,closed,2026-04-01 10:00:00\n",
        [{"external_id": "m1", "text": "Where do I change my plan?", "customer": {"id": "u-1", "name": "Ann", "email": "ann@example.com", "account_id": "Acme"}, "occurred_at": "2026-04-01T10:00:00.000Z", "attributes": {"message_type": "conversation_message", "message_author_type": "user", "conversation_tags": "plan", "conversation_id": "501", "conversation_state": "closed"}, "channel": "chat"}],
        [(4, "message_created_at: “late” is not a date")], empty=1,
    ),
]  # fmt: skip
ids = [f"{one.tool}-{one.name}" for one in SAMPLES]


def written(folder: Path, sample: Sample) -> Path:
    path = folder / sample.name
    path.write_bytes(sample.content.encode(sample.codec))
    return path


def read(path: Path, **options: Any) -> tuple[Look, list[Item]]:
    with look(path, Options(**options)) as found:
        return found, list(found.reading())


def told(found: Look) -> str | None:
    return next((fact.found for fact in found.facts if fact.what == "tool"), None)


@pytest.mark.parametrize("sample", SAMPLES, ids=ids)
def test_an_export_as_it_comes(tmp_path: Path, sample: Sample) -> None:
    found, items = read(written(tmp_path, sample))
    assert told(found) == tools()[sample.tool].TITLE
    bodies = [item.body for item in items if isinstance(item, Ready)]
    for body, wanted in zip(bodies, sample.bodies, strict=False):
        ours = body if "external_id" in wanted else {n: v for n, v in body.items() if n != "external_id"}
        assert ours == {"source": sample.name.rpartition(".")[0], **wanted}
    assert len(bodies) >= len(sample.bodies)
    refused = [(item.number, item.reason) for item in items if isinstance(item, Refused)]
    assert len(refused) == len(sample.refused), refused
    for (row, reason), (wanted_row, part) in zip(refused, sample.refused, strict=True):
        assert row == wanted_row
        assert part in reason
    assert sum(isinstance(item, Empty) for item in items) == sample.empty


def test_every_tool_has_a_sample() -> None:
    assert {one.tool for one in SAMPLES} == set(tools())


@pytest.mark.parametrize("sample", SAMPLES, ids=ids)
def test_its_refused_rows_come_back_as_they_were(tmp_path: Path, sample: Sample) -> None:
    """Mended, they are what the first import would have made of them, once."""
    found, items = read(written(tmp_path, sample))
    refused = [item for item in items if isinstance(item, Refused)]
    path = tmp_path / ("again.jsonl" if found.kind == "jsonl" else "again.csv")
    Refusals(path, found).add(refused)
    again, once_more = read(path)
    assert told(again) == told(found)
    assert [item.reason for item in once_more if isinstance(item, Refused)] == [item.reason for item in refused]
    before = {one.name: one.member for one in found.columns}
    assert all(before.get(one.name, one.member) == one.member for one in again.columns)


def test_what_is_left_out_is_left_out_of_lines_that_nobody_looked_at(tmp_path: Path) -> None:
    """What agents wrote stands in no attribute, though its member comes late in the file."""
    ticket = {"subject": "S", "description": "Nobody saw this before", "requester_id": 1}
    objects = [{"id": n, **ticket} for n in range(1_001)]
    path = tmp_path / "tickets.jsonl"
    path.write_text(lines(*objects, {"id": 5_000, **ticket, "comments": [{"body": "private"}], "group_id": 3}))
    _, items = read(path)
    last = items[-1]
    assert isinstance(last, Ready)
    assert last.body["attributes"] == {"group_id": 3}


def test_a_person_knows_better(tmp_path: Path) -> None:
    sample = next(one for one in SAMPLES if one.tool == "delighted")
    path = written(tmp_path, sample)
    found, items = read(path, tool="none")
    assert told(found) is None
    assert not any("solicited" in item.body for item in items if isinstance(item, Ready))
    found, items = read(path, tool="delighted", mapping=("score.stars=Score,ignore=Delighted Source",))
    assert next(fact.why for fact in found.facts if fact.what == "tool") == "--as"
    assert next(one.member for one in found.columns if one.name == "Score") == "score.stars"
    assert next(one.member for one in found.columns if one.name == "Delighted Source") is None
    with pytest.raises(
        Misuse, match=r"--as typeform: its columns are not those of Typeform \(#, network id, submit date"
    ):
        read(path, tool="typeform")
    with pytest.raises(Misuse, match="there is no 'nps'; it is one of app_store, appfollow, delighted"):
        read(path, tool="nps")


def test_scores_of_several_kinds_are_not_taken_for_one(tmp_path: Path) -> None:
    path = tmp_path / "mixed.csv"
    path.write_text(
        "ID,Score,Comment,Survey Type,Delighted Source\n1,9,Fine by me and mine,nps,Email\n2,4,Good enough for us,csat,Email\n"
    )
    found, items = read(path)
    assert any("one kind at a time" in note for note in found.notes)
    assert not any("scores" in item.body for item in items if isinstance(item, Ready))


@pytest.mark.parametrize(
    "names",
    [
        ["id", "rating", "title", "comment", "date"],
        ["Respondent ID", "Comment"],
        ["Score", "Comment", "E-mail"],
        ["id", "text", "source", "received_at"],
        ["编号", "评论内容", "推荐意愿"],
        [],
    ],
)
def test_other_files_are_nobodys(names: Sequence[str]) -> None:
    assert form_of(names) is None


def test_a_tools_members_are_ours() -> None:
    from shared.files.columns import MEMBERS

    for tool in tools().values():
        for form in tool.FORMS:
            for member in [*form.members.values(), *(member for member, _ in form.derived.values())]:
                kind, _, name = (member or "").partition(".")
                assert member is None or member in MEMBERS or kind == "attributes" or name in METRIC_RANGES, member
            assert form.reads.keys() <= form.members.keys()
