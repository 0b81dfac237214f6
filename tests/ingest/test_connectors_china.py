"""WeCom, WeChat official accounts, DingTalk, Feishu and Wenjuanxing beyond their recorded cases: what is one delivery,
options that are wrong, what each signature holds and what it does not, the questions they ask first, and bad XML.
"""

import base64
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha1, sha256
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from services.ingest.connectors import (
    Ignored,
    Outcome,
    SignatureInvalid,
    Unreadable,
    WebhookRequest,
    dingtalk,
    feishu,
    wechat_mp,
    wecom,
    wjx,
)
from services.ingest.sources import Source
from tests.ingest.recorded import recorded, source_of

NOW = datetime(2026, 4, 2, 8, 17, tzinfo=UTC)
FRESH, OLD = str(int(NOW.timestamp()) - 5), str(int(NOW.timestamp()) - 360)
TOKEN, AES_KEY = "tokenOfTests", "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
PAIR = f"{TOKEN}:{AES_KEY}"
OTHER_PAIR = f"other:{AES_KEY[::-1]}"
TEXT = (
    "<xml><FromUserName>u</FromUserName><CreateTime>1775117760</CreateTime><MsgType>text</MsgType>"
    "<Content><![CDATA[太慢]]></Content><MsgId>7</MsgId></xml>"
)


def holds(connector: Any, request: WebhookRequest, source: Source, at: datetime = NOW) -> bool:
    try:
        connector.verify(request, source, at)
    except SignatureInvalid:
        return False
    return True


def deliveries(connector: Any, request: WebhookRequest, source: Source) -> list[str]:
    drafts = connector.parse(request, source)
    assert not isinstance(drafts, Ignored), drafts.reason
    return [draft.delivery for draft in drafts]


def encrypted(key: bytes, vector: bytes, plain: bytes, block: int) -> bytes:
    padding = block - len(plain) % block
    writer = Cipher(algorithms.AES(key), modes.CBC(vector)).encryptor()
    return writer.update(plain + bytes([padding]) * padding) + writer.finalize()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("wecom/text", "wecom/text_signed"),
        ("wecom/text", "wecom/text_in_json_signed"),
        ("wechat_mp/text_plain", "wechat_mp/text_safe_signed"),
        ("wechat_mp/text_plain", "wechat_mp/text_compatible_signed"),
        ("dingtalk/text", "dingtalk/text_signed"),
        ("feishu/text", "feishu/text_signed"),
        ("wjx/answered", "wjx/answered_signed"),
    ],
)
def test_what_comes_twice_is_one_delivery_with_one_body(one: str, other: str) -> None:
    assert recorded(one) == recorded(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("wecom/text", "wecom/voice"),
        ("wecom/contact_added", "wecom/contact_removed"),
        ("wechat_mp/text_plain", "wechat_mp/menu_chosen"),
        ("wechat_mp/subscribed", "wechat_mp/unsubscribed"),
        ("dingtalk/text", "dingtalk/rich_text"),
        ("feishu/text", "feishu/post"),
        ("feishu/reaction", "feishu/reaction_withdrawn"),
        ("feishu/rated", "feishu/rated_middling"),
        ("wjx/answered", "wjx/choices_alone"),
    ],
)
def test_what_is_said_or_done_anew_is_another_delivery(one: str, other: str) -> None:
    assert recorded(one)[0]["delivery"] != recorded(other)[0]["delivery"]


@pytest.mark.parametrize(
    ("connector", "options", "secret", "told"),
    [
        (wecom, {"corp_id": "ww0acme"}, PAIR, None),
        (wecom, {"corp_id": 5}, PAIR, "corp_id"),
        (wecom, {"agent": "x"}, PAIR, "there is: corp_id"),
        (wecom, {}, TOKEN, "token:EncodingAESKey"),
        (wecom, {}, PAIR[:-1], "43"),
        (wecom, {}, f"{TOKEN}:{AES_KEY[:-1]}=", "43"),
        (wechat_mp, {"app_id": "wx0acme"}, PAIR, None),
        (wechat_mp, {}, TOKEN, None),
        (wechat_mp, {"app_id": ["wx0acme"]}, PAIR, "app_id"),
        (wechat_mp, {}, f"{TOKEN}:", "43"),
        (wechat_mp, {}, PAIR + "H", "43"),
        (dingtalk, {"staff": ["manager01", "dingACME"]}, "x", None),
        (dingtalk, {"staff": "manager01"}, "x", "staff"),
        (dingtalk, {"staff": [1]}, "x", "staff"),
        (feishu, {"staff": ["ou_1"]}, "token:key", None),
        (feishu, {"staff": {"ou_1": True}}, "token:key", "staff"),
        (feishu, {"tenant": "x"}, "token", "there is: staff"),
        (wjx, {"language": "zh-CN", "fields": {"q1": "nps:-1", "q2": "effort10", "q3": "leave_out"}}, "x", None),
        (wjx, {"language": "Chinese!"}, "x", "language"),
        (wjx, {"fields": ["q1"]}, "x", "fields"),
        (wjx, {"fields": {"q1": 5}}, "x", "fields: q1"),
        (wjx, {"fields": {"q1": "nps-1"}}, "x", None),
        (wjx, {"fields": {"q1": "nps:one"}}, "x", "fields: q1"),
    ],
)
def test_options_and_secrets_are_looked_at(
    connector: Any, options: dict[str, Any], secret: str, told: str | None
) -> None:
    issues = list(connector.check(source_of(connector, secret, **options)))
    assert len(issues) == (0 if told is None else 1), issues
    assert told is None or told in issues[0]


# ── 企业微信 and 公众号 ──────────────────────────────────────────────────────────────────────────


def sealed(message: str, receiver: str = "ww0acme", key: str = AES_KEY) -> str:
    aes, said = base64.b64decode(key + "="), message.encode()
    plain = b"r" * 16 + len(said).to_bytes(4, "big") + said + receiver.encode()
    return base64.b64encode(encrypted(aes, aes[:16], plain, 32)).decode()


def signature(*words: str) -> str:
    return sha1("".join(sorted(words)).encode()).hexdigest()


def posted(what: str, at: str = FRESH, *, said: str | None = None, **other: str) -> WebhookRequest:
    """`what` sealed is what is signed, `said` what the body holds instead."""
    query = {"msg_signature": signature(TOKEN, at, "n", what), "timestamp": at, "nonce": "n"} | other
    body = f"<xml><Encrypt><![CDATA[{said or what}]]></Encrypt></xml>".encode()
    return WebhookRequest("POST", f"https://feedback.example.com/v1/webhooks/s?{urlencode(query)}", {}, body)


def asked(query: Mapping[str, str], method: str = "GET") -> WebhookRequest:
    return WebhookRequest(method, f"https://feedback.example.com/v1/webhooks/s?{urlencode(query)}", {}, b"")


@pytest.mark.parametrize(("connector", "option"), [(wecom, "corp_id"), (wechat_mp, "app_id")])
class TestWhatWeChatSeals:
    def test_it_is_believed_of_whoever_has_both_token_and_key(self, connector: Any, option: str) -> None:
        what = sealed(TEXT)
        assert holds(connector, posted(what), source_of(connector, OTHER_PAIR, PAIR))
        assert holds(connector, posted(what), source_of(connector, PAIR, **{option: "ww0acme"}))
        assert not holds(connector, posted(what), source_of(connector, PAIR, **{option: "ww0another"}))
        assert not holds(connector, posted(what), source_of(connector, OTHER_PAIR))
        # Signed with our token, and sealed with another's key.
        assert not holds(connector, posted(sealed(TEXT, key=AES_KEY[::-1])), source_of(connector, PAIR))

    def test_changed_or_old_it_is_not(self, connector: Any, option: str) -> None:
        what, source = sealed(TEXT), source_of(connector, PAIR)
        assert not holds(connector, posted(what, OLD), source)
        assert not holds(connector, posted(what, OLD, timestamp=FRESH), source)
        assert not holds(connector, posted(what, nonce="m"), source)
        assert not holds(connector, posted(what, msg_signature=""), source)
        assert not holds(connector, posted(what, said=sealed(TEXT + " ")), source)
        assert not holds(connector, posted(what, timestamp="soon"), source)
        assert not holds(connector, posted("", said=what), source)

    def test_what_stands_unsealed_beside_it_is_not_read(self, connector: Any, option: str) -> None:
        request = posted(sealed(TEXT))
        body = request.body.replace(b"<xml>", b"<xml><MsgType>text</MsgType><Content>forged</Content><MsgId>8</MsgId>")
        forged = WebhookRequest("POST", request.url, {}, body)
        source = source_of(connector, PAIR)
        assert holds(connector, forged, source)
        assert deliveries(connector, forged, source) == ["message/7"]

    def test_nothing_unsealed_is_believed_where_there_is_a_key(self, connector: Any, option: str) -> None:
        query = {"signature": signature(TOKEN, FRESH, "n"), "msg_signature": signature(TOKEN, FRESH, "n")}
        url = "https://feedback.example.com/v1/webhooks/s?" + urlencode(query | {"timestamp": FRESH, "nonce": "n"})
        assert not holds(connector, WebhookRequest("POST", url, {}, TEXT.encode()), source_of(connector, PAIR))

    @pytest.mark.parametrize("length", [0, 1, 16, 31, 33, 10_000])
    def test_what_opens_to_nothing_sensible_is_unreadable(self, connector: Any, option: str, length: int) -> None:
        what = base64.b64encode(b"\0" * length).decode()
        with pytest.raises(Unreadable):
            connector.parse(posted(what), source_of(connector, PAIR))

    @pytest.mark.parametrize("stated", [0, 3, 0xFFFFFFFF])
    def test_a_length_that_is_a_lie_is_no_defect(self, connector: Any, option: str, stated: int) -> None:
        aes = base64.b64decode(AES_KEY + "=")
        plain = b"r" * 16 + stated.to_bytes(4, "big") + TEXT.encode()
        what = base64.b64encode(encrypted(aes, aes[:16], plain, 32)).decode()
        with pytest.raises(Unreadable):
            connector.parse(posted(what), source_of(connector, PAIR))

    @pytest.mark.parametrize(
        "body",
        [
            b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><xml><MsgType>&b;</MsgType></xml>',
            b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><xml><MsgType>text</MsgType></xml>',
            '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE x [<!ENTITY a "a">]><xml>&a;</xml>'.encode("utf-16"),
            b"<xml>" + b"<a/>" * 2_000 + b"</xml>",
            b"<xml>" + b"<a>" * 2_000,
            b"<xml><MsgType>&undefined;</MsgType></xml>",
            b'<?xml version="1.0" encoding="no-such-thing"?><xml/>',
            b"<xml><MsgType>text</MsgType>",
            b"\xff\xfe",
            b"",
        ],
    )
    def test_xml_that_does_more_than_say_something_is_not_read(self, connector: Any, option: str, body: bytes) -> None:
        request = WebhookRequest("POST", "", {}, body)
        with pytest.raises(Unreadable):
            connector.parse(request, source_of(connector, PAIR))
        assert not holds(connector, request, source_of(connector, PAIR))

    def test_the_answer_is_what_they_wait_for(self, connector: Any, option: str) -> None:
        for outcome in (
            Outcome("accepted", ("a",)),
            Outcome("ignored", reason="x"),
            Outcome("quarantined", reason="x"),
        ):
            reply = connector.reply(outcome)
            assert (reply.status, reply.body) == (200, b"success")
            assert reply.content_type.startswith("text/plain")


class TestWhatWeComAsksFirst:
    SOURCE = source_of(wecom, OTHER_PAIR, PAIR, corp_id="ww0acme")

    def query(self, what: str) -> dict[str, str]:
        return {"msg_signature": signature(TOKEN, FRESH, "n", what), "timestamp": FRESH, "nonce": "n", "echostr": what}

    def test_it_gets_what_was_sealed(self) -> None:
        reply = wecom.answer(asked(self.query(sealed("1616140317555161061"))), self.SOURCE, signed=False)
        assert reply is not None
        assert (reply.status, reply.body) == (200, b"1616140317555161061")
        assert reply.content_type.startswith("text/plain")

    def test_nobody_else_does(self) -> None:
        good = self.query(sealed("161614"))
        for other in (
            good | {"msg_signature": "0" * 40},
            good | {"nonce": "m"},
            good | {"echostr": sealed("161615")},
            good | {"echostr": ""},
            self.query("not sealed"),
            self.query(sealed("161614", receiver="ww0another")),
        ):
            with pytest.raises(SignatureInvalid):
                wecom.answer(asked(other), self.SOURCE, signed=False)

    def test_what_is_no_plain_word_is_not_said_back(self) -> None:
        for text in ("<script>alert(1)</script> ", "", "x" * 501, "慢"):
            assert wecom.answer(asked(self.query(sealed(text))), self.SOURCE, signed=False) is None

    def test_without_a_question_there_is_no_answer(self) -> None:
        assert wecom.answer(asked({}), self.SOURCE, signed=False) is None
        assert wecom.answer(asked(self.query(sealed("1")), "HEAD"), self.SOURCE, signed=False) is None
        assert wecom.answer(posted(sealed(TEXT)), self.SOURCE, signed=True) is None


class TestOfficialAccountsInPlainMode:
    """The token alone: it signs when it was sent, and not what."""

    SOURCE = source_of(wechat_mp, "other", TOKEN)

    def request(self, at: str = FRESH, body: str = TEXT, **other: str) -> WebhookRequest:
        query = {"signature": signature(TOKEN, at, "n"), "timestamp": at, "nonce": "n"} | other
        return WebhookRequest("POST", asked(query).url, {}, body.encode())

    def test_it_is_believed_where_it_is_new(self) -> None:
        assert holds(wechat_mp, self.request(), self.SOURCE)
        assert not holds(wechat_mp, self.request(OLD), self.SOURCE)
        assert not holds(wechat_mp, self.request(OLD, timestamp=FRESH), self.SOURCE)
        assert not holds(wechat_mp, self.request(nonce="m"), self.SOURCE)
        assert not holds(wechat_mp, self.request(signature=""), self.SOURCE)

    def test_its_words_are_not_signed_as_the_docstring_says(self) -> None:
        assert holds(wechat_mp, self.request(body=TEXT.replace("太慢", "很好")), self.SOURCE)

    def test_who_asks_with_the_token_is_answered(self) -> None:
        query = {"signature": signature(TOKEN, FRESH, "n"), "timestamp": FRESH, "nonce": "n", "echostr": "5837397580"}
        for source in (self.SOURCE, source_of(wechat_mp, PAIR)):
            reply = wechat_mp.answer(asked(query), source, signed=False)
            assert reply is not None
            assert reply.body == b"5837397580"
            for wrong in ({"signature": "0" * 40}, {"nonce": "m"}):
                with pytest.raises(SignatureInvalid):
                    wechat_mp.answer(asked(query | wrong), source, signed=False)
            assert wechat_mp.answer(asked(query | {"echostr": "<script>"}), source, signed=False) is not None
            assert wechat_mp.answer(asked(query | {"echostr": "two words"}), source, signed=False) is None
            assert wechat_mp.answer(asked({}), source, signed=False) is None
            assert wechat_mp.answer(asked(query, "HEAD"), source, signed=False) is None


def test_what_is_said_back_is_never_taken_for_a_page() -> None:
    query = {"signature": signature(TOKEN, FRESH, "n"), "timestamp": FRESH, "nonce": "n", "echostr": "<script>"}
    reply = wechat_mp.answer(asked(query), source_of(wechat_mp, TOKEN), signed=False)
    assert reply is not None
    assert reply.content_type.startswith("text/plain")
    assert reply.headers["X-Content-Type-Options"] == "nosniff"


# ── 钉钉 ─────────────────────────────────────────────────────────────────────────────────────────


class TestDingTalk:
    SOURCE = source_of(dingtalk, "an-older-one", "a-secret")

    def request(self, at: datetime = NOW, body: str = "{}", **headers: str) -> WebhookRequest:
        timestamp = str(int(at.timestamp() * 1000))
        sign = base64.b64encode(hmac.digest(b"a-secret", f"{timestamp}\na-secret".encode(), "sha256")).decode()
        return WebhookRequest("POST", "", {"timestamp": timestamp, "sign": sign} | headers, body.encode())

    def test_it_is_believed_where_it_is_new(self) -> None:
        assert holds(dingtalk, self.request(), self.SOURCE)
        assert not holds(dingtalk, self.request(NOW - timedelta(minutes=6)), self.SOURCE)
        assert not holds(dingtalk, self.request(NOW + timedelta(minutes=6)), self.SOURCE)
        later = self.request(NOW + timedelta(seconds=1)).headers["timestamp"]
        assert not holds(dingtalk, self.request(timestamp=later), self.SOURCE)
        good = self.request()
        for wrong in ({"sign": ""}, {"sign": "AAAA"}, {"timestamp": ""}, {"timestamp": "now"}):
            assert not holds(dingtalk, WebhookRequest("POST", "", {**good.headers, **wrong}, b"{}"), self.SOURCE)

    def test_its_words_are_not_signed_as_the_docstring_says(self) -> None:
        assert holds(dingtalk, self.request(body='{"text": {"content": "另一句"}}'), self.SOURCE)

    def test_who_writes_sees_a_check_mark_where_something_was_taken(self) -> None:
        taken, ignored = dingtalk.reply(Outcome("accepted", ("a",))), dingtalk.reply(Outcome("ignored", reason="x"))
        assert json.loads(taken.body) == {"msgtype": "text", "text": {"content": "✅"}}
        assert json.loads(ignored.body) == {"msgtype": "empty"}
        assert {taken.content_type, ignored.content_type} == {"application/json"}


# ── 飞书 ─────────────────────────────────────────────────────────────────────────────────────────


class TestFeishu:
    KEYS = source_of(feishu, "olderToken:older-key", "token:a-key")
    TOKENS = source_of(feishu, "olderToken", "token")
    EVENT: Mapping[str, Any] = {"schema": "2.0", "header": {"token": "token", "event_type": "x"}, "event": {}}
    ASKED: Mapping[str, Any] = {"type": "url_verification", "token": "token", "challenge": "c"}

    def sealed(self, payload: Mapping[str, Any], key: bytes = b"a-key") -> dict[str, Any]:
        data = b"v" * 16 + encrypted(sha256(key).digest(), b"v" * 16, json.dumps(payload).encode(), 16)
        return {"encrypt": base64.b64encode(data).decode()}

    def request(self, payload: Mapping[str, Any], timestamp: str = FRESH, key: bytes = b"a-key") -> WebhookRequest:
        body = json.dumps(payload).encode()
        headers = {
            "x-lark-request-timestamp": timestamp,
            "x-lark-request-nonce": "n",
            "x-lark-signature": sha256(timestamp.encode() + b"n" + key + body).hexdigest(),
        }
        return WebhookRequest("POST", "", headers, body)

    def test_with_a_key_the_signature_counts(self) -> None:
        payload = self.sealed(self.EVENT)
        good = self.request(payload)
        assert holds(feishu, good, self.KEYS)
        assert not holds(feishu, WebhookRequest("POST", "", good.headers, good.body + b" "), self.KEYS)
        assert not holds(feishu, self.request(payload, OLD), self.KEYS)
        assert not holds(feishu, self.request(payload, key=b"another"), self.KEYS)
        for wrong in ({"x-lark-request-nonce": "m"}, {"x-lark-signature": ""}, {"x-lark-request-timestamp": "now"}):
            assert not holds(feishu, WebhookRequest("POST", "", {**good.headers, **wrong}, good.body), self.KEYS)
        # The token, which every event carries, does not do instead.
        assert not holds(feishu, WebhookRequest("POST", "", {}, json.dumps(self.EVENT).encode()), self.KEYS)
        assert not holds(feishu, WebhookRequest("POST", "", {}, good.body), self.KEYS)

    def test_without_one_the_token_counts(self) -> None:
        older = {"token": "token", "type": "event_callback", "event": {}}
        for payload in (self.EVENT, older):
            assert holds(feishu, WebhookRequest("POST", "", {}, json.dumps(payload).encode()), self.TOKENS)
        for header in ({"token": "another"}, {"token": ""}, {"token": None}, {}):
            body = json.dumps({**self.EVENT, "header": header}).encode()
            assert not holds(feishu, WebhookRequest("POST", "", {}, body), self.TOKENS)
        assert not holds(feishu, WebhookRequest("POST", "", {}, b"not json"), self.TOKENS)

    def test_what_is_asked_first_is_answered_where_its_token_is_right(self) -> None:
        for payload, source in (
            (self.ASKED, self.TOKENS),
            (self.ASKED, self.KEYS),
            (self.sealed(self.ASKED), self.KEYS),
        ):
            reply = feishu.answer(WebhookRequest("POST", "", {}, json.dumps(payload).encode()), source, signed=False)
            assert reply is not None
            assert json.loads(reply.body) == {"challenge": "c"}

    def test_and_nothing_else_is(self) -> None:
        others: tuple[Any, ...] = (
            {**self.ASKED, "token": "another"},
            {**self.ASKED, "token": ""},
            {**self.ASKED, "challenge": 5},
            {**self.ASKED, "challenge": "c" * 501},
            {**self.ASKED, "type": "event_callback"},
            self.sealed({**self.ASKED, "token": "another"}),
            self.sealed(self.ASKED, b"another-key"),
            {"encrypt": "AAAA"},
            [],
        )
        for payload in others:
            request = WebhookRequest("POST", "", {}, json.dumps(payload).encode())
            assert feishu.answer(request, self.KEYS, signed=False) is None

    @pytest.mark.parametrize("length", [0, 1, 16, 31, 32, 33, 10_000])
    def test_what_opens_to_nothing_sensible_is_unreadable(self, length: int) -> None:
        payload = {"encrypt": base64.b64encode(b"\0" * length).decode()}
        with pytest.raises(Unreadable):
            feishu.parse(self.request(payload), self.KEYS)


# ── 问卷星 ───────────────────────────────────────────────────────────────────────────────────────


class TestWenjuanxing:
    SOURCE = source_of(wjx, "an-older-one", "a-key")

    def request(self, **other: Any) -> WebhookRequest:
        sign = sha1(b"56577" + b"17" + b"a-key").hexdigest()
        payload = {"activity": "56577", "index": "17", "sign": sign, "q1": "很慢"} | other
        return WebhookRequest("POST", "", {}, json.dumps(payload).encode())

    def test_the_sheet_is_signed(self) -> None:
        assert holds(wjx, self.request(), self.SOURCE)
        assert holds(wjx, self.request(activity=56577, index=17), self.SOURCE)
        assert holds(wjx, self.request(sign=self.request().object["sign"].upper()), self.SOURCE)
        for wrong in ({"index": "18"}, {"activity": "56578"}, {"sign": ""}, {"sign": None}, {"index": None}):
            assert not holds(wjx, self.request(**wrong), self.SOURCE)
        assert not holds(wjx, WebhookRequest("POST", "", {}, b"[]"), self.SOURCE)

    def test_the_two_numbers_are_signed_as_one_as_the_docstring_says(self) -> None:
        assert holds(wjx, self.request(activity="5657", index="717"), self.SOURCE)

    def test_answers_that_are_not_signed_cannot_be_told_twice(self) -> None:
        forged = self.request(q1="很好")
        assert holds(wjx, forged, self.SOURCE)
        assert deliveries(wjx, forged, self.SOURCE) == deliveries(wjx, self.request(), self.SOURCE)

    @pytest.mark.parametrize(
        ("answers", "fields", "text", "scores", "customer"),
        [
            ({"q1": "很慢", "q2": "也很贵"}, {}, "很慢\n\n也很贵", [], {}),
            ({"q1": "很慢", "q2": "3"}, {"q2": "csat"}, "很慢", [("csat", 3)], {}),
            ({"q1": "11"}, {"q1": "nps:-1"}, None, [("nps", 10)], {}),
            ({"q1": "1", "q2_1": "2"}, {}, "q1: 1\nq2_1: 2", [], {}),
            ({"q1": "😡"}, {}, "😡", [], {}),
            ({"q1": "慢", "q2": "13800138000"}, {}, "慢", [], {}),
            ({"q1": "慢", "q2": "wang@kehu.example"}, {}, "慢", [], {"email": "wang@kehu.example"}),
            ({"q1": "慢", "Q2": "王小明"}, {"q2": "name"}, "慢", [], {"name": "王小明"}),
            ({"q1": "慢", "q2": "秘密"}, {"q2": "leave_out"}, "慢", [], {}),
            ({"q1": "慢", "q2": "https://files.example/a.png"}, {}, "慢", [], {}),
            ({"q1": "慢", "q2": "不想说"}, {"q2": "nps"}, "慢", [], {}),
        ],
    )
    def test_what_answers_are(
        self,
        answers: dict[str, str],
        fields: dict[str, str],
        text: str | None,
        scores: list[tuple[str, int]],
        customer: dict[str, str],
    ) -> None:
        request = WebhookRequest("POST", "", {}, json.dumps({"activity": "5", "index": "1", **answers}).encode())
        drafts = wjx.parse(request, source_of(wjx, "x", fields=fields))
        assert not isinstance(drafts, Ignored)
        body = drafts[0].body
        assert body.get("text") == text
        assert [(one["metric"], one["value"]) for one in body.get("scores", [])] == scores
        assert body.get("customer", {}) == customer
