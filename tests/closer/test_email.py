"""The mail as it goes out: what no mail may hold, what each must, and what each answer of a server means."""

import asyncio
import contextlib
import email
import email.policy
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from services.closer.channels import Outgoing, Unknown
from services.closer.channels.email import (
    FileChannel,
    SmtpChannel,
    compose,
    message_id,
    on_the_wire,
    read_smtp_url,
)
from shared.errors import Misuse, Rejected, Transient
from tests.mailbox import Mailbox

FROM = "Feedback team <feedback@example.com>"
MESSAGE = Outgoing(
    id="default/0192aabb-0000-7000-8000-000000000001/answered/1",
    case_id="0192aabb-0000-7000-8000-000000000001",
    to="ann@example.org",
    language="zh",
    subject="关于您的反馈，我们做了什么",
    text="您好！\n.\nFrom the team\n.hidden\n",
    html="<p>您好！</p>",
    unsubscribe_url="https://feedback.example.com/loop/TOKEN/unsubscribe",
    traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
)


def test_a_mail_has_what_mail_programs_and_list_laws_ask_for() -> None:
    mail = compose(MESSAGE, FROM)
    assert mail["Message-ID"] == message_id(MESSAGE.id, FROM)
    assert mail["References"] == mail["In-Reply-To"] == f"<case.{MESSAGE.case_id}@example.com>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["List-Unsubscribe"] == f"<{MESSAGE.unsubscribe_url}>"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail["traceparent"] == MESSAGE.traceparent
    parsed = email.message_from_bytes(mail.as_bytes(), policy=email.policy.default)
    assert parsed["Subject"] == MESSAGE.subject
    assert [part.get_content_type() for part in parsed.iter_parts()] == ["text/plain", "text/html"]


def test_the_address_to_unsubscribe_at_stands_in_the_mail_as_it_is_however_long() -> None:
    url = "https://loop.example.com/loop/" + "WyJkZWZhdWx0Ii" * 20 + ".awK4UA.QPDa-pr_Gtd/unsubscribe"
    lines = compose(replace(MESSAGE, unsubscribe_url=url), FROM).as_bytes().split(b"\r\n")
    assert f"List-Unsubscribe: <{url}>".encode() in lines
    with pytest.raises(Rejected, match="does not fit"):
        compose(replace(MESSAGE, unsubscribe_url=url + "x" * 998), FROM).as_bytes()


def test_every_try_is_the_same_bytes_and_another_message_is_not() -> None:
    first, again = compose(MESSAGE, FROM).as_bytes(), compose(MESSAGE, FROM).as_bytes()
    assert first == again
    assert compose(replace(MESSAGE, id="other"), FROM)["Message-ID"] != compose(MESSAGE, FROM)["Message-ID"]


# promises §3, 67
@pytest.mark.parametrize("character", ["\r", "\n", "\r\n", "\x0b", "\x0c", "\x1c", "\u2028", "\x00", "\u202e"])
@pytest.mark.parametrize("where", ["subject", "to", "id"])
def test_67_a_character_that_would_break_a_header_is_refused_before_there_is_a_mail(where: str, character: str) -> None:
    value = getattr(MESSAGE, where)
    with pytest.raises(Rejected):
        compose(replace(MESSAGE, **{where: value[:5] + character + "Bcc: x@evil.example" + value[5:]}), FROM)


# promises §3, 68
@pytest.mark.parametrize(
    "address",
    [
        "a@example.org,b@example.org",
        "a@example.org b@example.org",
        '"quoted local"@example.org',
        "Ann <ann@example.org>",
        "ann@exаmple.org",  # a Cyrillic а
        "ünn@example.org",
        "ann@",
        "@example.org",
        "ann@example..org",
        "ann@-example.org",
        "a" * 65 + "@example.org",
        "ann@" + "e" * 320 + ".org",
        "",
        "ann@[127.0.0.1]",
        "ann.@example.org",  # ingest takes these: what a mail cannot hold must not end the sender
        ".ann@example.org",
        "ann@example.org.",
    ],
)
def test_68_what_is_not_one_plain_address_is_refused(address: str) -> None:
    with pytest.raises(Rejected):
        compose(replace(MESSAGE, to=address), FROM)


# promises §3, 69
@pytest.mark.parametrize(
    "text",
    ["a\r\n.\r\nMAIL FROM:<x@evil>", "a\n.\nb", "a\r.\rb", "a\n.\r\nb", ".", "..", ".a\n..b"],
)
async def test_69_no_text_ends_the_mail_early_and_all_of_it_arrives(text: str) -> None:
    wire = on_the_wire(compose(replace(MESSAGE, text=text), FROM))
    assert b"\r\n.\r\n" not in wire
    assert not wire.startswith(b".\r\n")
    assert b"\n" not in wire.replace(b"\r\n", b"")
    assert b"\r" not in wire.replace(b"\r\n", b"")
    with Mailbox() as box:
        await SmtpChannel(read_smtp_url(box.url), FROM).send(replace(MESSAGE, text=text))
        (mail,) = box.all()
    plain = next(part for part in mail.walk() if part.get_content_type() == "text/plain")
    assert plain.get_content().splitlines() == text.splitlines()


async def test_a_mail_goes_to_a_server_and_the_servers_word_for_it_comes_back() -> None:
    with Mailbox() as box:
        assert "OK" in await SmtpChannel(read_smtp_url(box.url), FROM).send(MESSAGE)
        (mail,) = box.to(MESSAGE.to)
    assert mail["Subject"] == MESSAGE.subject


# ── servers that behave badly: a script of answers, one a command ──


@contextlib.asynccontextmanager
async def server(
    *answers: str | None, talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]] | None = None
) -> AsyncIterator[str]:
    """Says the first on connecting, then one to each command; `None` hangs up. After 354 it reads up to the final dot."""

    async def scripted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waiting = list(answers)
        try:
            while waiting:
                answer = waiting.pop(0)
                if answer is None:
                    break
                writer.write(answer.encode() + b"\r\n")
                await writer.drain()
                if answer.startswith("354"):
                    await reader.readuntil(b"\r\n.\r\n")
                elif not await reader.readline():
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(talk or scripted, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    try:
        yield f"smtp://127.0.0.1:{port}"
    finally:
        listening.close()
        await listening.wait_closed()


@pytest.mark.parametrize(
    ("case", "answers", "means"),
    [
        ("busy at once", ["421 too busy"], Transient),
        ("no service", ["554 no service here"], Transient),
        ("hangs up at once", [None], Transient),
        ("our address is refused", ["220 hi", "250 hi", "550 who are you"], Transient),
        ("greylisted", ["220 hi", "250 hi", "250 ok", "451 come back later"], Transient),
        ("no such person", ["220 hi", "250 hi", "250 ok", "550 no such user"], Rejected),
        ("mailbox full for now", ["220 hi", "250 hi", "250 ok", "452 full"], Transient),
        ("wants TLS first", ["220 hi", "250 hi", "250 ok", "530 STARTTLS first"], Transient),
        ("refuses data", ["220 hi", "250 hi", "250 ok", "250 ok", "554 no"], Rejected),
        ("hangs up before data", ["220 hi", "250 hi", "250 ok", "250 ok", None], Transient),
        ("refuses what it read", ["220 hi", "250 hi", "250 ok", "250 ok", "354 go", "554 spam"], Rejected),
        ("cannot store it now", ["220 hi", "250 hi", "250 ok", "250 ok", "354 go", "452 disk full"], Transient),
        ("hangs up after the dot", ["220 hi", "250 hi", "250 ok", "250 ok", "354 go", None], Unknown),
        ("talks nonsense after the dot", ["220 hi", "250 hi", "250 ok", "250 ok", "354 go", "what?"], Unknown),
    ],
)
async def test_what_a_servers_answer_means(case: str, answers: list[str | None], means: type[Exception]) -> None:
    async with server(*answers) as url:
        with pytest.raises(means) as caught:
            await SmtpChannel(read_smtp_url(url), FROM).send(MESSAGE)
    assert type(caught.value) is means, case


async def test_a_servers_words_are_told_without_the_address_in_them() -> None:
    async with server("220 hi", "250 hi", "250 ok", "550 <ann@example.org> is unknown\x1b[31m") as url:
        with pytest.raises(Rejected) as caught:
            await SmtpChannel(read_smtp_url(url), FROM).send(MESSAGE)
    assert "ann@" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    "said", [[], ["220 hi"], ["220 hi", "250 hi", "250 ok"], ["220 hi", "250 hi", "250 ok", "250 ok"]]
)
async def test_a_server_that_is_slow_before_the_dot_was_definitely_given_nothing(
    said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.closer.channels.email.BEFORE_DOT_S", 0.3)
    given_up = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in said:
            writer.write(answer.encode() + b"\r\n")
            await reader.readline()
        await given_up.wait()
        writer.close()

    async with server(talk=silent) as url:
        with pytest.raises(Transient):
            await SmtpChannel(read_smtp_url(url), FROM).send(MESSAGE)
        given_up.set()


async def test_nobody_listens() -> None:
    async with server() as url:
        pass
    with pytest.raises(Transient):
        await SmtpChannel(read_smtp_url(url), FROM).send(MESSAGE)


async def test_a_password_is_not_sent_in_the_clear_to_another_machine() -> None:
    assert read_smtp_url("smtp://user:pw@mail.example.com").starttls is True
    assert read_smtp_url("smtp://user:pw@127.0.0.1:2525").starttls is None
    assert read_smtp_url("smtps://user:p%40w@mail.example.com").tls
    assert read_smtp_url("smtps://user:p%40w@mail.example.com").password == "p@w"


@pytest.mark.parametrize(
    "url",
    ["mail.example.com", "http://x", "smtp://", "smtp://h:99999", "smtp://h?starttls=perhaps", "smtp://h?verify=x"],
)
def test_a_wrong_smtp_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(Misuse):
        read_smtp_url(url)


async def test_without_a_server_a_mail_is_a_file_and_twice_is_one_file(tmp_path: Path) -> None:
    channel = FileChannel(tmp_path / "mail", FROM)
    first, again = await channel.send(MESSAGE), await channel.send(MESSAGE)
    assert first == again
    (file,) = list((tmp_path / "mail").iterdir())
    assert file.stat().st_mode & 0o077 == 0
    mail = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
    assert mail["To"] == MESSAGE.to


async def test_a_file_that_cannot_be_written_may_be_tried_again(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("in the way")
    with pytest.raises(Transient):
        await FileChannel(tmp_path / "mail", FROM).send(MESSAGE)
