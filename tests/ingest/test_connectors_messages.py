"""Text messages and mail: what of a mail was said, what nobody wrote, whose thread it is, signatures, and damaged
forms.
"""

import base64
import hmac
import json
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from xml.dom.minidom import parseString

import pytest

from services.ingest.connectors import (
    Connector,
    Draft,
    Ignored,
    Outcome,
    SignatureInvalid,
    Unreadable,
    WebhookRequest,
    mailgun,
    postmark,
    sendgrid,
    twilio,
)
from services.ingest.connectors._mail import Mail, decode, drafts_of, headers_in, read_mime, said_in
from services.ingest.sources import Source
from services.ingest.tidy import tidy_content
from shared.events.feedback import METRIC_RANGES
from tests.ingest.recorded import PAYLOADS, case, source_of

NOW = datetime(2026, 9, 15, 9, tzinfo=UTC)
FORM = "application/x-www-form-urlencoded"


ANY = Source(name="s", connector="postmark", verify="none")


# ── what was said ──

QUOTED = "\n> Guten Tag,\n> wir haben es gesendet.\n"
WROTE = [
    "On Tue, Sep 15, 2026 at 10:02 AM Acme Help <help@acme.example> wrote:",
    "On 15/09/2026 10:02, Acme Help wrote:",
    "On Tue, Sep 15, 2026 at 10:02 AM Acme Help with a long name\n<help@acme.example> wrote:",
    "On Tue, Sep 15, 2026 at 10:02 AM\nAcme Help with a very long name <\nhelp@acme.example> wrote:",
    "Acme Help <help@acme.example> wrote:",
    "Am 15.09.2026 um 10:02 schrieb Acme Help:",
    "Am Di., 15. Sept. 2026 um 10:02 Uhr schrieb Acme Help <help@acme.example>:",
    "Acme Help <help@acme.example> schrieb am Di., 15. Sept. 2026, 10:02:",
    "Le mar. 15 sept. 2026 à 10:02, Acme Help <help@acme.example> a écrit :",
    "El mar, 15 sept 2026 a las 10:02, Acme Help (<help@acme.example>) escribió:",
    "Em ter., 15 de set. de 2026 às 10:02, Acme <help@acme.example> escreveu:",
    "Il giorno mar 15 set 2026 alle ore 10:02 Acme <help@acme.example> ha scritto:",
    "Op di 15 sep. 2026 om 10:02 schreef Acme <help@acme.example>:",
    "вт, 15 сент. 2026 г. в 10:02, Acme <help@acme.example>:",
    "15.09.2026 10:02, Acme пишет:",
    "Acme 客服 <help@acme.example> 于2026年9月15日周二 10:02写道：",
    '在 2026-09-15 10:02:11，"Acme 客服" <help@acme.example> 写道：',
    "2026年9月15日(火) 10:02 サポート <help@acme.example>:",
    "2026/09/15 10:02、サポート <help@acme.example>のメール:",
    "2026년 9월 15일 (화) 오전 10:02, Acme <help@acme.example>님이 작성:",
]
BLOCKS = [
    "From: Acme Help <help@acme.example>\nSent: Tuesday, September 15, 2026 10:02 AM\nTo: Ines\nSubject: Invoice",
    "________________________________\nFrom: Acme Help\nSent: Tuesday\nTo: Ines\nSubject: Invoice",
    "*From:* Acme Help\n*Date:* Tuesday\n*To:* Ines\n*Subject:* Invoice",
    "Von: Acme\nGesendet: Dienstag, 15. September 2026 10:02\nAn: Ines\nBetreff: Rechnung",
    "De : Acme\nEnvoyé : mardi 15 septembre 2026 10:02\nÀ : Ines\nObjet : Facture",
    "De: Acme\nEnviado el: martes, 15 de septiembre de 2026 10:02\nPara: Ines\nAsunto: Factura",
    "发件人: Acme 客服 <help@acme.example>\n发送时间: 2026年9月15日 10:02\n收件人: Ines\n主题: 发票",
    "发件人：Acme\n日期：2026年9月15日\n收件人：Ines\n抄送：\n主题：发票",
    "寄件者: Acme\n寄件日期: 2026年9月15日\n收件者: Ines\n主旨: 發票",
    "差出人: Acme\n送信日時: 2026年9月15日 10:02\n宛先: Ines\n件名: 請求書",
    "-----Original Message-----\nFrom: Acme",
    "-----Ursprüngliche Nachricht-----",
    "-----Message d'origine-----",
    "-----Mensaje original-----",
    "------------------ 原始邮件 ------------------\n发件人: Acme",
    "---- 回复的原邮件 ----",
    "-----元のメッセージ-----",
    "---- On Tue, 15 Sep 2026 10:02:11 +0200 Acme <help@acme.example> wrote ----",
]
SIGN_OFFS = [
    "-- \nInes Faro\nFaro & Filhos",
    "--\nInes",
    "Sent from my iPhone",
    "Sent from Yahoo Mail on Android",
    "Get Outlook for iOS",
    "(Sent from my mobile device)",
    "Von meinem iPhone gesendet",
    "Gesendet von Outlook für Android",
    "Envoyé de mon iPhone",
    "Enviado desde mi iPhone",
    "Enviado do meu telefone Samsung",
    "发自我的 iPhone",
    "发自我的华为手机",
    "發自我的 iPhone",
    "從我的 iPhone 傳送",
    "来自我的小米手机",
    "iPhoneから送信",
]


@pytest.mark.parametrize("line", WROTE)
@pytest.mark.parametrize("said", ["Still missing.", "还是没有收到。\n\n谢谢"])
def test_a_quotation_below_is_taken_off(line: str, said: str) -> None:
    assert said_in(f"{said}\n\n{line}\n{QUOTED}") == (said, f"{line}\n{QUOTED.strip()}")


@pytest.mark.parametrize("line", WROTE)
def test_without_marks_all_that_is_below_is_quoted(line: str) -> None:
    assert said_in(f"Still missing.\n\n{line}\n\nGuten Tag,\nwir haben es gesendet.")[0] == "Still missing."


@pytest.mark.parametrize("line", WROTE)
def test_an_answer_below_the_quotation_stays(line: str) -> None:
    assert said_in(f"{line}\n{QUOTED}\nStill missing.\n")[0] == "Still missing."


@pytest.mark.parametrize("block", BLOCKS)
def test_what_outlook_and_its_like_put_below_is_taken_off(block: str) -> None:
    below = f"{block}\n\nDear Ines,\nwe have sent a new one."
    assert said_in(f"Still missing.\n\n{below}") == ("Still missing.", below)


@pytest.mark.parametrize("sign_off", SIGN_OFFS)
def test_a_signature_is_taken_off(sign_off: str) -> None:
    assert said_in(f"Still missing.\n\n{sign_off}\n") == ("Still missing.", sign_off)
    both = said_in(f"Still missing.\n\n{sign_off}\n\n{WROTE[0]}\n{QUOTED}")
    assert both[0] == "Still missing."
    assert sign_off in both[1]


@pytest.mark.parametrize(
    "text",
    [
        "On Monday the driver wrote: come tomorrow. He did not.",
        "We flew:\nFrom: Berlin\nTo: Lisbon\nDate: 3 May 2026\nNobody found our bags.",
        "From: the shop in Lisbon I have heard nothing.",
        "> 5 items fail\nwhen I export them",
        "Sent with express and still not here",
        "发自内心感谢你们的客服",
        "从下单到现在已经十天了",
        "First the invoice\n--\nthen the parcel: " + "it was late, and nobody told us. " * 30,
        "a -- b\n\n* one\n* two",
        "Begin forwarded message:\n\nFrom: Jo\nSubject: mug\nTo: me\n\nThe mug came in pieces.",
        "please read\n\n---------- Forwarded message ---------\nFrom: Jo\nDate: Mon\nSubject: mug\nTo: me\n\nbroken",
        "On 3 May 2026 at 10:00 your driver said:\n",
        "> Dear Ines,\n> we have sent a new one.",
        "-- \nInes",
        "Sent from my iPhone",
    ],
)  # fmt: skip
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert said_in(text) == (text.strip(), "")


def test_a_mail_that_is_forwarded_as_its_subject_says_is_kept_whole() -> None:
    text = f"please read\n\n{BLOCKS[0]}\n\nThe mug came in pieces."
    assert said_in(text, forwarded=True) == (text, "")
    assert said_in(text)[0] == "please read"


def test_answers_between_quoted_lines_stay_in_order() -> None:
    text = f"{WROTE[0]}\n> Which version?\n> And since when?\n5.2\n\n> Which phone?\n> Which network?\n\nA Pixel.\n"
    assert said_in(text)[0] == "5.2\n\nA Pixel."


def test_nothing_that_takes_time_by_the_square() -> None:
    """Each is a megabyte or so, and would take minutes."""
    began = time.process_time()
    said_in("> a\n\n" * 250_000)
    said_in(("on " + "wrote schrieb " * 25 + ":\n") * 3_000)
    said_in("From: a\nSubject: b\n" * 50_000)
    said_in("--\n" * 300_000)
    said_in("-" * 1_000_000)
    drafts_of(Mail([("From", "<" * 100_000), ("To", "a@b," * 100_000), ("References", "<" * 100_000)], "x"), ANY)
    drafts_of(Mail([("From", "a@b.example")], html="<blockquote>" * 80_000 + "x"), ANY)
    assert time.process_time() - began < 20


# ── what nobody wrote ──


def mail(text: str = "x", html: str | None = None, envelope: str | None = None, **headers: str) -> Mail:
    there = {"From": "Ines <ines@example.com>", "Subject": "Invoice"}
    there |= {name.replace("_", "-"): value for name, value in headers.items()}
    return Mail(list(there.items()), text, html, envelope_from=envelope)


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (mail(Auto_Submitted="auto-generated"), "Auto-Submitted: auto-generated"),
        (mail(Auto_Submitted="auto-replied; x=1"), "auto-replied"),
        (mail(X_Autoreply="yes"), "x-autoreply"),
        (mail(Precedence="bulk"), "Precedence: bulk"),
        (mail(Precedence="list"), "our_lists"),
        (mail(List_Id="Help <help.acme.example>"), "help.acme.example"),
        (mail(Return_Path="<>"), "Return-Path"),
        (mail(envelope=""), "Return-Path"),
        (mail(From="MAILER-DAEMON@mx.example"), "mail server"),
        (mail(From="Mail Delivery System <postmaster@mx.example>"), "mail server"),
        (mail(Content_Type='multipart/report; report-type="disposition-notification"'), "receipt"),
        (mail(X_Failed_Recipients="x@example.com"), "bounce"),
        (mail(In_Reply_To="<1@x>", Subject="Automatic reply: Invoice"), "subject"),
        (mail(text="我正在休假。", Subject="自动回复：发票"), "subject"),
        (mail(text=" ", Subject="=?utf-8?B?6Ieq5Yqo5Zue5aSNOiB4?="), "subject"),
        (mail(text="Ich bin bis Montag nicht im Büro.", Subject="Abwesenheitsnotiz: Rechnung"), "subject"),
        (mail(X_Auto_Response_Suppress="All", Subject="Réponse automatique : facture"), "subject"),
        (mail(text="休暇をいただいております。", Subject="不在通知: 請求書"), "subject"),
        (mail("", "<p>I am out of the office until Monday.</p>", Subject="Out of office: Invoice"), "subject"),
        (mail(From="mailer-daemon@mx.example", Subject="Undeliverable: Invoice"), "mail server"),
        (mail(envelope="", Subject="Delivery Status Notification (Failure)"), "Return-Path"),
    ],
)
def test_what_no_customer_wrote_is_ignored_with_the_reason(one: Mail, why: str) -> None:
    found = drafts_of(one, ANY)
    assert isinstance(found, Ignored), found
    assert why in found.reason


@pytest.mark.parametrize(
    "one",
    [
        mail(Auto_Submitted="no"),
        mail(X_Auto_Response_Suppress="All"),
        mail(Subject="自动回复没有用"),
        mail(Subject="Your automatic reply is wrong"),
        mail(Subject="Undeliverable parcel"),
        mail("Where is my parcel?", Subject="Delivery failed: order 123"),
        mail("The app crashes.", Subject="On leave: screen crashes"),
        mail("荷物が届きません。", Subject="不在通知"),
        mail("It never stops.", Subject="Automatic reply: cannot be turned off"),
        mail(Return_Path="<ines@example.com>"),
        mail(envelope="ines@example.com"),
        mail(List_Unsubscribe="<mailto:x@example.com>"),
    ],
)
def test_what_a_customer_wrote_is_not(one: Mail) -> None:
    assert not isinstance(drafts_of(one, ANY), Ignored)


# ── who, and which thread ──


def drafted(one: Mail, **options: Any) -> Draft:
    found = drafts_of(one, source_of(postmark, **options))
    assert not isinstance(found, Ignored), found.reason
    return found[0]


def test_a_thread_is_named_by_the_mail_that_opened_it() -> None:
    first = drafted(mail(Message_ID="<1@x>"))
    second = drafted(mail(Message_ID="<2@x>", In_Reply_To="<1@x>"))
    third = drafted(mail(Message_ID="<3@x>", In_Reply_To="<2@x>", References="<1@x>\r\n <2@x>"))
    assert {one.body["attributes"]["thread_id"] for one in (first, second, third)} == {"1@x"}
    assert [one.delivery for one in (first, second, third)] == ["mail/1@x", "mail/2@x", "mail/3@x"]
    assert third.body["attributes"]["in_reply_to"] == "2@x"


def test_the_same_mail_by_another_relay_is_the_same_delivery() -> None:
    by_mailgun, by_sendgrid = case("mailgun/inbound")["expected"], case("sendgrid/inbound")["expected"]
    by_postmark = case("postmark/reply")["expected"]
    assert len({found["drafts"][0]["delivery"] for found in (by_mailgun, by_sendgrid, by_postmark)}) == 1


def test_a_mail_without_a_name_is_named_by_what_it_says() -> None:
    assert drafted(mail("a")).delivery == drafted(mail("a")).delivery != drafted(mail("b")).delivery


@pytest.mark.parametrize(
    ("one", "options", "who"),
    [
        (mail(), {}, ("ines@example.com", "Ines")),
        (mail(From="ines@example.com"), {}, ("ines@example.com", None)),
        (mail(From="=?utf-8?B?6ZmI5bCP5aeQLCB4?= <c@example.com>"), {}, ("c@example.com", "陈小姐, x")),
        (mail(From="=?gb2312?B?s8LQob3j?= <c@example.com>"), {}, ("c@example.com", "陈小姐")),
        (mail(Reply_To="other@example.com"), {}, ("ines@example.com", "Ines")),
        (mail(From="Form <no-reply@acme.example>", Reply_To="Jo <jo@example.com>"), {}, ("jo@example.com", "Jo")),
        (mail(From="Form <noreply@acme.example>"), {}, ("noreply@acme.example", "Form")),
        (
            mail(From="Jo via Help <h@acme.example>", List_Id="<help.acme.example>", X_Original_From="Jo <jo@e.example>"),
            {"our_lists": ["help.acme.example"]},
            ("jo@e.example", "Jo"),
        ),
    ],
)  # fmt: skip
def test_who_wrote_it(one: Mail, options: dict[str, Any], who: tuple[str, str | None]) -> None:
    customer = drafted(one, **options).body["customer"]
    assert (customer["email"], customer.get("name")) == who


def test_a_colleagues_mail_is_no_customers() -> None:
    for staff in (["@example.com"], ["INES@example.com"]):
        assert drafts_of(mail(), source_of(postmark, staff=staff)) == Ignored("a colleague's mail")
    drafted(mail(), staff=["@ample.com", "nes@example.com"])


@pytest.mark.parametrize(
    ("subject", "title"),
    [
        ("Re: Invoice", "Invoice"),
        ("RE: Re[2]: AW: Invoice", "Invoice"),
        ("答复: 回复：发票", "发票"),
        ("Re:", None),
        ("Reason: none", "Reason: none"),
        ("Software: it crashes", "Software: it crashes"),
        ("关于回复：没有人回复：三天了", "关于回复：没有人回复：三天了"),
    ],
)
def test_a_subject_is_a_title_without_what_clients_put_before_it(subject: str, title: str | None) -> None:
    assert drafted(mail(Subject=subject)).body.get("title") == title


# ── MIME and HTML ──


def test_html_is_read_where_there_is_no_text() -> None:
    html = "<p>Slow &amp; loud</p><blockquote type=cite>we wrote</blockquote><p>Really</p>"
    assert drafted(mail("", html)).body["text"] == "Slow & loud\n\nReally"
    assert drafted(mail(" \u200b\n", html)).body["text"] == "Slow & loud\n\nReally"
    assert drafted(mail("plain", html)).body["text"] == "plain"


def test_a_whole_mail_is_read_and_what_is_attached_to_it_was_not_said() -> None:
    raw = (
        b"From: a@example.com\r\nSubject: \xe6\x85\xa2\r\nContent-Type: multipart/mixed; boundary=B\r\n\r\n"
        b"--B\r\nContent-Type: multipart/alternative; boundary=C\r\n\r\n"
        b"--C\r\nContent-Type: text/plain; charset=gb2312\r\n\r\n" + "很慢 €".encode("gb18030") + b"\r\n"
        b"--C\r\nContent-Type: text/html\r\n\r\n<p>x</p>\r\n--C--\r\n"
        b"--B\r\nContent-Type: text/plain\r\nContent-Disposition: attachment; filename=a.txt\r\n\r\nattached\r\n"
        b"--B\r\nContent-Type: message/rfc822\r\n\r\nSubject: other\r\n\r\nanother's words\r\n"
        b"--B\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n--B--\r\n"
    )
    read = read_mime(raw)
    assert (read.text or "").strip() == "很慢 €"
    assert (read.header("subject"), read.attachments) == ("慢", 2)


@pytest.mark.parametrize(
    ("raw", "charset", "text"),
    [
        ("慢".encode(), None, "慢"),
        ("慢".encode("gbk"), "GB2312", "慢"),
        ("é€".encode("cp1252"), "iso-8859-1", "é€"),
        (b"\xe9", None, "é"),
        ("慢".encode(), "no-such-charset", "慢"),
        (b"\xff\xfe", "no-such-charset", "\ufffd\ufffd"),
    ],
)
def test_whatever_bytes_come_are_text(raw: bytes, charset: str | None, text: str) -> None:
    assert decode(raw, charset) == text


def test_a_block_of_headers_is_unfolded() -> None:
    block = "Received: a\n by b\r\nTo: x@y\nnot a header\n : odd\nSubject:  s"
    assert headers_in(block) == [("Received", "a by b"), ("To", "x@y"), ("Subject", "s")]


# ── signatures ──


def test_whether_the_address_has_a_port_makes_no_difference_to_twilio() -> None:
    fields = {"From": "+447700900123", "Body": "slow", "MessageSid": "SM1"}
    signed = "https://x.example/s?to=a" + "BodyslowFrom+447700900123MessageSidSM1"
    mac = base64.b64encode(hmac.digest(b"token", signed.encode(), "sha1")).decode()
    headers = {"content-type": FORM, "x-twilio-signature": mac}
    ours = source_of(twilio, "token")
    for host in ("x.example", "x.example:443"):
        url = f"https://{host}/s?to=a"
        twilio.verify(WebhookRequest("POST", url, headers, urlencode(fields).encode()), ours, NOW)
    for url, body in (
        ("https://x.example/s?to=b", fields),
        ("https://x.example/s?to=a", {**fields, "Body": "fast"}),
        ("https://x.example/s?to=a", {**fields, "More": ""}),
    ):
        with pytest.raises(SignatureInvalid):
            twilio.verify(WebhookRequest("POST", url, headers, urlencode(body).encode()), ours, NOW)


def test_a_body_of_twilios_that_is_no_form_is_signed_by_its_digest_in_the_address() -> None:
    body = b'{"sid": "SM1"}'
    url = f"https://x.example/s?bodySHA256={sha256(body).hexdigest()}"
    mac = base64.b64encode(hmac.digest(b"token", url.encode(), "sha1")).decode()
    headers = {"content-type": "application/json", "x-twilio-signature": mac}
    twilio.verify(WebhookRequest("POST", url, headers, body), source_of(twilio, "token"), NOW)
    with pytest.raises(SignatureInvalid):
        twilio.verify(WebhookRequest("POST", url, headers, body + b" "), source_of(twilio, "token"), NOW)


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome("accepted", ("0190",)),
        Outcome("ignored", reason="a status -- of -- our own --> message ]]>"),
        Outcome("quarantined", reason="x-"),
    ],
)
def test_the_answer_to_twilio_is_twiml_that_sends_nothing(outcome: Outcome) -> None:
    reply = twilio.reply(outcome)
    assert (reply.status, reply.content_type) == (200, "text/xml; charset=utf-8")
    root = parseString(reply.body).documentElement
    assert root is not None
    (comment,) = root.childNodes
    assert root.tagName == "Response"
    said = json.loads(str(comment.nodeValue))
    assert (said["outcome"], said.get("reason", "")) == (outcome.what, outcome.reason)


def test_mailgun_signs_who_and_when_and_for_half_a_day() -> None:
    timestamp, token = str(int(NOW.timestamp())), "06c96bafc3f42a66"
    good = hmac.new(b"key", (timestamp + token).encode(), "sha256").hexdigest()

    def verified(now: datetime = NOW, fields: Mapping[str, str] | None = None) -> None:
        signed = {"timestamp": timestamp, "token": token, "signature": good, "body-plain": "x", **(fields or {})}
        posted = WebhookRequest("POST", "https://x.example/s", {"content-type": FORM}, urlencode(signed).encode())
        mailgun.verify(posted, source_of(mailgun, "older", "key"), now)

    verified()
    verified(NOW + timedelta(hours=11))
    verified(fields={"body-plain": "other words, which are not signed"})
    for wrong in ({"token": "other"}, {"timestamp": "1"}, {"signature": good.upper()}, {"signature": ""}):
        with pytest.raises(SignatureInvalid):
            verified(fields=wrong)
    for now in (NOW + timedelta(hours=13), NOW - timedelta(hours=13)):
        with pytest.raises(SignatureInvalid):
            verified(now)
    event = {
        "signature": {"timestamp": timestamp, "token": token, "signature": good},
        "event-data": {"event": "opened"},
    }
    posted = WebhookRequest("POST", "https://x/s", {"content-type": "application/json"}, json.dumps(event).encode())
    mailgun.verify(posted, source_of(mailgun, "key"), NOW)
    for body in (b"[]", b"{}", b'{"signature": [1]}', b"\xff"):
        posted = WebhookRequest("POST", "https://x/s", {"content-type": "application/json"}, body)
        with pytest.raises(SignatureInvalid):
            mailgun.verify(posted, source_of(mailgun, "key"), NOW)


def test_a_key_of_sendgrids_may_be_pem_and_nothing_but_a_key_is_one() -> None:
    said = case("sendgrid/inbound_signed")
    key = said["secrets"][1]
    headers = {name.lower(): value for name, value in said["headers"].items()}
    at, body = datetime.fromisoformat(said["at"]), said["body"].encode()
    pem = f"-----BEGIN PUBLIC KEY-----\n{key[:64]}\n{key[64:]}\n-----END PUBLIC KEY-----\n"
    for secret in (key, pem):
        ours = source_of(sendgrid, secret)
        assert sendgrid.check(ours) == []
        sendgrid.verify(WebhookRequest("POST", "https://x/s", headers, body), ours, at)
    with pytest.raises(SignatureInvalid):
        sendgrid.verify(WebhookRequest("POST", "https://x/s", headers, body), source_of(sendgrid, "x"), at)
    (issue,) = sendgrid.check(source_of(sendgrid, "x", key))
    assert issue.startswith("secret 1 must be the policy's public key")


def test_the_signature_vectors(corpus: Path) -> None:
    """What the providers publish, or what was computed by what they publish."""
    vectors = json.loads((corpus / "webhooks" / "vectors.json").read_bytes())
    ours = {vector["provider"]: vector for vector in vectors if vector["provider"] in {"twilio", "mailgun", "sendgrid"}}
    for name, vector in ours.items():
        connector: Any = {"twilio": twilio, "mailgun": mailgun, "sendgrid": sendgrid}[name]
        fields = vector.get("params") or vector.get("fields")
        body = (urlencode(fields) if fields else vector["body"]).encode()
        headers = {key.lower(): value for key, value in vector.get("headers", {}).items()}
        posted = WebhookRequest("POST", vector.get("url", "https://x/s"), {"content-type": FORM, **headers}, body)
        stamp = (fields or {}).get("timestamp") or headers.get("x-twilio-email-event-webhook-timestamp") or "0"
        at = datetime.fromtimestamp(int(stamp), UTC)
        secret = vector.get("secret") or vector["public_key"]
        connector.verify(posted, source_of(connector, secret), at)
        with pytest.raises(SignatureInvalid):
            changed = body.replace(b"a", b"b")
            connector.verify(
                WebhookRequest("POST", posted.url, posted.headers, changed), source_of(connector, secret), at
            )
    assert len(ours) == 3


# ── options ──


@pytest.mark.parametrize(
    ("connector", "options", "told"),
    [
        (postmark, {"staff": ["@acme.example"], "our_lists": ["help.acme.example"]}, None),
        (postmark, {"staff": "@acme.example"}, "staff"),
        (postmark, {"our_lists": [5]}, "our_lists"),
        (mailgun, {"lists": []}, "there is: our_lists, staff"),
        (sendgrid, {"staff": [""]}, "staff"),
        (twilio, {"number": "x"}, "there is: none"),
    ],
)
def test_options_are_looked_at(connector: Connector, options: dict[str, Any], told: str | None) -> None:
    issues = list(connector.check(source_of(connector, **options)))
    assert len(issues) == (0 if told is None else 1)
    assert told is None or told in issues[0]


# ── forms ──


def test_a_field_of_sendgrids_form_is_read_in_its_own_charset() -> None:
    body = (
        b'--B\r\nContent-Disposition: form-data; name="text"\r\n\r\n' + "退款没有到账".encode("gbk") + b"\r\n"
        b'--B\r\nContent-Disposition: form-data; name="from"\r\n\r\nc@example.com\r\n'
        b'--B\r\nContent-Disposition: form-data; name="charsets"\r\n\r\n{"text": "gb2312"}\r\n--B--\r\n'
    )
    headers = {"content-type": "multipart/form-data; boundary=B"}
    found = sendgrid.parse(WebhookRequest("POST", "https://x/s", headers, body), source_of(sendgrid))
    assert not isinstance(found, Ignored)
    assert found[0].body["text"] == "退款没有到账"


@pytest.mark.parametrize("connector", [twilio, mailgun, sendgrid], ids=lambda one: str(one.NAME))
def test_a_damaged_form_is_no_more_than_unreadable(connector: Connector) -> None:
    """The suite does this to JSON; here bytes of recorded forms are changed, put in and left out."""
    chance = random.Random(7)
    for path in sorted((PAYLOADS / connector.NAME).glob("*.json")):
        said = json.loads(path.read_bytes())
        if "body" not in said:
            continue
        headers = {name.lower(): value for name, value in said["headers"].items()}
        ours = source_of(connector, "x", **said.get("options", {}))
        for _ in range(40):
            body = bytearray(said["body"].encode())
            for _ in range(chance.randint(1, 8)):
                at = chance.randrange(len(body) or 1)
                body[at : at + chance.randint(0, 3)] = chance.choice(
                    [b"", b"\xff", b"%00", b"\0", b"&", b"\r\n--", b"{["]
                )
            posted = WebhookRequest("POST", "https://x.example/s", headers, bytes(body))
            try:
                found: Sequence[Draft] | Ignored = connector.parse(posted, ours)
            except Unreadable:
                continue
            for draft in found if not isinstance(found, Ignored) else ():
                assert isinstance(draft.delivery, str)
            with pytest.raises(SignatureInvalid):
                connector.verify(posted, ours, NOW)


# ── real ones ──

BECAME: dict[Any, dict[str, int]] = {
    twilio: {"feedback.received": 1},
    mailgun: {"feedback.received": 1, "ignored": 12},
    postmark: {"feedback.received": 1, "ignored": 5},
    sendgrid: {"feedback.received": 1, "ignored": 5},
}


@pytest.mark.parametrize("connector", BECAME, ids=lambda connector: str(connector.NAME))
def test_every_payload_of_the_corpus_becomes_something_or_is_ignored_with_a_reason(
    corpus: Path, connector: Connector
) -> None:
    """The corpus holds forms as objects of their fields: these are posted as the forms they were."""
    became: Counter[str] = Counter()
    for path in sorted((corpus / "webhooks" / connector.NAME).glob("*.json")):
        body, kind = path.read_bytes(), "application/json"
        fields = json.loads(body)
        if connector.NAME == "mailgun" and "event-data" not in fields:
            body, kind = urlencode(fields, doseq=True).encode(), FORM
        if connector.NAME == "sendgrid" and isinstance(fields, dict):
            parts = [f'--B\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
            body, kind = ("".join(parts) + "--B--\r\n").encode(), "multipart/form-data; boundary=B"
        posted = WebhookRequest("POST", "https://x.example/s", {"content-type": kind}, body)
        try:
            found = connector.parse(posted, source_of(connector))
        except Unreadable as error:
            became[f"{path.name}: {error}"] += 1
            continue
        if isinstance(found, Ignored):
            assert found.reason
            became["ignored"] += 1
            continue
        for draft in found:
            tidy_content(draft.type, draft.body, "s", METRIC_RANGES)
            became[draft.type] += 1
    assert became == BECAME[connector]
