"""What somebody sends who means harm: bodies that are read in two ways, questions whose answer is worth something, and
inputs that take time by the square of their length. Each of these once worked.
"""

import base64
import hmac
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha1, sha256
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from services.ingest.connectors import (
    Ignored,
    SignatureInvalid,
    Unreadable,
    WebhookRequest,
    appfollow,
    feishu,
    helpscout,
    hubspot,
    intercom,
    postmark,
    qualtrics,
    twilio,
    twitter,
    wechat_mp,
    wecom,
    zendesk,
)
from services.ingest.connectors._html import plain_text
from services.ingest.connectors._mail import Mail, decode, drafts_of, read_mime, said_in
from services.ingest.sources import Source

NOW = datetime(2026, 4, 2, 8, 17, tzinfo=UTC)
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


def source(connector: Any, *secrets: str, **options: Any) -> Source:
    verify = "signature" if secrets else "none"
    return Source(name="s", connector=connector.NAME, secrets=secrets, verify=verify, options=options)


def posted(body: bytes, content_type: str = JSON, query: str = "", **headers: str) -> WebhookRequest:
    named = {name.replace("_", "-"): value for name, value in headers.items()} | {"content-type": content_type}
    return WebhookRequest("POST", "https://f.example/hook" + query, named, body)


def asked(**query: str) -> WebhookRequest:
    return WebhookRequest("GET", f"https://f.example/hook?{urlencode(query)}", {}, b"")


def holds(connector: Any, request: WebhookRequest, of: Source) -> bool:
    try:
        connector.verify(request, of, NOW)
    except SignatureInvalid:
        return False
    return True


# ── what is signed is what is read ──


def test_a_body_that_is_a_form_and_json_is_read_by_qualtrics_as_what_is_signed() -> None:
    message = '{"ResponseID":"R_1","SurveyID":"SV_1"}'
    captured = urlencode({"MSG": message, "HMAC": hmac.digest(b"key", message.encode(), "sha512").hex()})
    forged = {"z": f"&{captured}&y=", "responseId": "R_forged", "values": {"QID1_TEXT": "never said"}}
    body = json.dumps(forged, separators=(",", ":")).encode()
    ours = source(qualtrics, "key")
    for content_type in (JSON, FORM):
        both = posted(body, content_type)
        assert not holds(qualtrics, both, ours) or "never said" not in str(qualtrics.parse(both, ours))
    with pytest.raises(Unreadable):
        qualtrics.parse(posted(json.dumps({"responseId": "R_2"} | forged).replace("MSG", "GSM").encode()), ours)


@pytest.mark.parametrize("content_type", ["", JSON, "text/plain", "multipart/form-data"])
def test_a_signature_of_twilio_over_the_address_alone_opens_no_body(content_type: str) -> None:
    body = json.dumps({"sid": "SM1", "direction": "inbound", "from": "+1", "body": "never said"}).encode()
    address = base64.b64encode(hmac.digest(b"key", b"https://f.example/hook", "sha1")).decode()
    ours = source(twilio, "key")
    assert not holds(twilio, posted(body, content_type, x_twilio_signature=address), ours)
    query = "?bodySHA256=" + sha256(body).hexdigest()
    named = base64.b64encode(hmac.digest(b"key", f"https://f.example/hook{query}".encode(), "sha1")).decode()
    assert holds(twilio, posted(body, content_type, query, x_twilio_signature=named), ours)
    assert not holds(twilio, posted(body + b" ", content_type, query, x_twilio_signature=named), ours)


# ── questions whose answer is worth something ──


@pytest.mark.parametrize(
    ("token", "verify", "is_answered"),
    [
        ("9b4507b3-9040-4669-9ca3-6b94edb50553", "signature", True),
        ("NGM2YzA5YjE=", "signature", True),
        ("9b4507b3-9040-4669-9ca3-6b94edb50553", "header", False),
        *((token, "signature", False) for token in ("1", "-1.5e9", "true", "false", "null", "NaN", "-Infinity")),
    ],
)
def test_x_gets_nothing_signed_that_could_be_posted(token: str, verify: Any, is_answered: bool) -> None:
    ours = Source(name="s", connector="twitter", secrets=("key",), verify=verify, header="x-secret")
    assert (twitter.answer(asked(crc_token=token), ours, False) is not None) is is_answered


PAIR = "tokenOfTests:abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"


def sealed_for_wecom(text: bytes) -> str:
    key = base64.b64decode(PAIR.partition(":")[2] + "=")
    plain = bytes(16) + len(text).to_bytes(4, "big") + text + b"ww0acme"
    padding = 32 - len(plain) % 32
    writer = Cipher(algorithms.AES(key), modes.CBC(key[:16])).encryptor()
    return base64.b64encode(writer.update(plain + bytes([padding]) * padding) + writer.finalize()).decode()


@pytest.mark.parametrize(
    ("text", "is_answered"),
    [
        (b"1616140317555161061", True),
        (b"a" * 64, True),
        (b"a" * 65, False),
        (b"<xml><MsgType>text</MsgType><Content>secret</Content></xml>", False),
        (b'{"MsgType":"text","Content":"secret"}', False),
    ],
)
def test_who_captured_a_message_to_wecom_does_not_get_it_opened(text: bytes, is_answered: bool) -> None:
    what = sealed_for_wecom(text)
    signature = sha1("".join(sorted(("tokenOfTests", "1775117760", "n", what))).encode()).hexdigest()
    query = {"msg_signature": signature, "timestamp": "1775117760", "nonce": "n", "echostr": what}
    reply = wecom.answer(asked(**query), source(wecom, PAIR), False)
    assert (reply is not None and reply.body == text) is is_answered


# ── inputs that take time by the square of their length, or worse ──


def seconds(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def zendesk_told(words: str) -> Any:
    return zendesk.parse(posted(json.dumps({"ticket_id": 1, "description": words}).encode()), source(zendesk))


def appfollow_told(words: str) -> Any:
    return appfollow.parse(posted(json.dumps({"text": words}).encode()), source(appfollow))


def told_in_html(html: str) -> Any:
    return drafts_of(Mail([("From", "a@b.example")], html=html), source(postmark))


def subject_of(subject: str) -> Any:
    return drafts_of(Mail([("From", "a@b.example"), ("Subject", subject)], text="Broken."), source(postmark))


SLOW: dict[str, Callable[[], Any]] = {
    "zendesk, empty lines behind a rule": lambda: zendesk_told("-" * 10 + "\n" * 20_000 + "x"),
    "zendesk, times behind a rule": lambda: zendesk_told("x\n" + "-" * 10 + "\n" + "1:23 " * 20_000),
    "appfollow, who it is by": lambda: appfollow_told("A\n★ x\nw\n_by_ " + " _for " * 3_000),
    "appfollow, spaces": lambda: appfollow_told("A\n★ x\nw\n_by_ " + " " * 3_000 + "*" + " " * 3_000 + "*x"),
    "appfollow, links": lambda: appfollow_told("A\n★ x\n" + "<a" * 20_000 + "[Permalink](" * 4_000),
    "mail, addresses": lambda: said_in("x\n" + ("1234" * 20 + "<" + "a@" * 100 + ":\n\n") * 2_000),
    "mail, no letter at all": lambda: said_in("x\n" + ("- " * 145 + ":\n\n") * 2_000),
    "mail, forwarded by": lambda: said_in("x\n" + ("-- forwarded by " + "-" * 270 + "x\n") * 4_900),
    "mail, forwarded and spaces": lambda: said_in("x\n" + ("begin forwarded message" + " " * 270 + "x\n") * 4_900),
    "mail, rules at the end": lambda: said_in("x" + "\n---" * 100_000),
    "mail, a charset that is none": lambda: decode(b"a" * 200_000 + b"-" + b"b" * 200_000, "punycode"),
    "mail, a charset written as another": lambda: read_mime(
        b"Content-Type: text/plain; charset*=punycode''" + b"a" * 100_000 + b"-" + b"b" * 100_000 + b"\n\nx"
    ),
    "mail, a boundary written as another": lambda: read_mime(
        b"Content-Type: multipart/mixed; boundary*=punycode''" + b"a" * 100_000 + b"-" + b"b" * 100_000 + b"\n\nx"
    ),
    "mail, semicolons": lambda: read_mime(b'Content-Type: multipart/mixed; a="' + b";" * 200_000 + b"\n\nx"),
    "mail, quotes of HTML": lambda: told_in_html("<blockquote " * 600_000),
    "mail, a subject of spaces": lambda: subject_of(" " * 8_000),
}  # fmt: skip


@pytest.mark.parametrize("what", SLOW)
def test_it_is_read_at_once(what: str) -> None:
    assert seconds(SLOW[what]) < 1


PREAMBLE = "----------------------------------------------\n\nMei Tan, Apr 3, 2026, 10:20\n\n"


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        (PREAMBLE + "The VAT number\n\nis missing.", "The VAT number\n\nis missing."),
        (PREAMBLE.replace("\n", "\r\n") + "It is missing.", "It is missing."),
        ("It fails:\n" + PREAMBLE + "and again", "It fails:\n" + PREAMBLE + "and again"),
        ("----------\nat 10:20 it failed\nand again", "----------\nat 10:20 it failed\nand again"),
        ("----------\nit failed\n\nand again at 10:20", "----------\nit failed\n\nand again at 10:20"),
        ("----------", "----------"),
        (PREAMBLE + "x" * 5_000 + "\n" + PREAMBLE + "y", "x" * 5_000 + "\n" + PREAMBLE + "y"),
    ],
)
def test_of_a_customers_words_zendesk_takes_nothing_out_of_the_middle(told: str, kept: str) -> None:
    (draft,) = zendesk_told(told)
    assert draft.body["text"] == kept


def nested(levels: int, lines: int) -> bytes:
    heads = b"".join(
        b'Content-Type: multipart/mixed; boundary="%d"\n\n--%d\n' % (level, level) for level in range(levels)
    )
    return b"From: a@b.example\n" + heads + b"Content-Type: text/plain\n\nIt is broken.\n" + b"-\n" * lines


def test_parts_within_parts_are_read_as_deep_as_anybody_means() -> None:
    assert (read_mime(nested(20, 0)).text or "").startswith("It is broken.")


@pytest.mark.parametrize(("levels", "lines"), [(400, 100_000), (20, 500_000)])
def test_more_parts_within_parts_are_refused_at_once(levels: int, lines: int) -> None:
    def refused() -> None:
        with pytest.raises(Unreadable):
            read_mime(nested(levels, lines))

    assert seconds(refused) < 1


@pytest.mark.parametrize(
    ("charset", "raw", "text"),
    [
        ("GB2312", "太慢了".encode("gb18030"), "太慢了"),
        ("windows-1251", "Привет".encode("cp1251"), "Привет"),
        ('"ISO-2022-JP"', "壊れた".encode("iso2022_jp"), "壊れた"),
        ("latin1", b"\x93ni\xf1o\x94", "“niño”"),
        ("punycode", b"Mnchen-3ya", "Mnchen-3ya"),
        ("unicode_escape", b"\\u0041", "\\u0041"),
        ("rot13", b"abc", "abc"),
        (None, b"ni\xf1o", "niño"),
    ],
)
def test_a_mails_words_are_read_in_a_charset_and_in_nothing_else(charset: str | None, raw: bytes, text: str) -> None:
    assert decode(raw, charset) == text


@pytest.mark.parametrize(
    ("subject", "title"),
    [("Re: Software: slow", "Software: slow"), ("AW: Re[2]: slow", "slow"), ("Core: down", "Core: down")],
)
def test_of_a_subject_nothing_is_taken_out_of_the_middle(subject: str, title: str) -> None:
    (draft,) = subject_of(subject)
    assert draft.body["title"] == title


@pytest.mark.parametrize("sender", ["(" * 3_000 + "a@b.example", "a:" * 3_000 + "a@b.example", "[" * 3_000 + "@b"])
def test_a_mail_whose_sender_cannot_be_read_is_heard(sender: str) -> None:
    headers = [("From", sender), ("To", sender), ("Reply-To", sender), ("Message-ID", "<1@b>")]
    drafts = drafts_of(Mail(headers, text="It is broken."), source(postmark))
    assert not isinstance(drafts, Ignored)
    assert drafts[0].body["text"] == "It is broken."


@pytest.mark.parametrize("connector", [wecom, wechat_mp, feishu])
@pytest.mark.parametrize("name", ["Encrypt", "encrypt", "token"])
def test_half_of_a_surrogate_pair_is_no_signature(connector: Any, name: str) -> None:
    for secret in (PAIR, "tokenOfTests"):
        ours = source(connector, secret)
        query = "?timestamp=1775117760&nonce=n&signature=0&msg_signature=0"
        assert not holds(connector, posted(b'{"%s":"\\ud800"}' % name.encode(), query=query), ours)


# ── one of several that cannot be read keeps none of the others from being heard ──


def change(which: int | None, content: str) -> dict[str, Any]:
    event = {"subscriptionType": "ticket.propertyChange", "propertyName": "content", "propertyValue": content}
    return event if which is None else event | {"objectId": which}


OF_CUSTOMER = {"author": {"type": "user", "id": "u"}, "body": "Any news?"}
THREAD = {"type": "customer", "createdBy": {"type": "customer", "id": 3}, "body": "Any news?"}
EVENT = {"author": {"type": "customer", "id": 3}, "body": "Any news?"}
PARTS = [OF_CUSTOMER, OF_CUSTOMER | {"id": "1"}]


@pytest.mark.parametrize(
    ("connector", "payload", "heard"),
    [
        (
            intercom,
            {
                "type": "notification_event",
                "topic": "conversation.user.replied",
                "data": {"item": {"id": "9", "conversation_parts": {"conversation_parts": PARTS}}},
            },
            "part/1",
        ),
        (helpscout, {"id": 9, "_embedded": {"threads": [THREAD, THREAD | {"id": 1}]}}, "thread/1"),
        (helpscout, {"id": 9, "beaconId": "b", "_embedded": {"events": [EVENT, EVENT | {"id": 1}]}}, "chat-message/1"),
        (hubspot, [change(None, "Slow."), change(1, "Late.")], "ticket/1/"),
    ],
)
def test_what_came_without_its_id_does_not_silence_the_others(connector: Any, payload: Any, heard: str) -> None:
    drafts = connector.parse(posted(json.dumps(payload).encode()), source(connector))
    first, kept_aside = (draft.delivery for draft in drafts)
    assert (first.startswith(heard), kept_aside) == (True, "")


def test_a_character_of_five_thousand_digits_is_text() -> None:
    assert plain_text("Slow &amp; late<br>&#" + "9" * 5_000 + ";") == "Slow & late\n&#" + "9" * 5_000 + ";"
