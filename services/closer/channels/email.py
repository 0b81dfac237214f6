"""E-mail by SMTP; without `SMTP_URL`, the same message as an `.eml` file under the data dir.

Plain SMTP cannot be told apart from a lost reply after the final dot (RFC 1047): that is `Unknown`. Everything
before the dot, and every reply, is definite. The Message-ID follows from the message's id, so a second copy, if an
operator sends one, is recognised as such by mail programs.

`SMTP_URL`: `smtp://user:pass@host:port` (STARTTLS where offered; a password never goes in the clear except to this
machine), `smtps://` (TLS from the start). `?starttls=required|never` insists or forbids; `?verify=no` takes any certificate.
"""

import asyncio
import contextlib
import os
import re
import ssl
from base64 import encodebytes
from binascii import b2a_qp
from dataclasses import dataclass
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import parseaddr
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import aiosmtplib
from aiosmtplib import SMTPException, SMTPResponseException

from services.closer.channels import Channel, Outgoing, Unknown
from services.closer.settings import CloserSettings
from shared.errors import Misuse, Rejected, Transient
from shared.settings import Settings

SMTP_TIMEOUT_S = 30.0
BEFORE_DOT_S = 45.0
"""For all that comes before the final dot, however slow each step: what is given up by then was definitely not sent."""
DOT_TIMEOUT_S = 60.0
MAX_ADDRESS_CHARS = 320
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

MAX_LINE_CHARS = 998
"""What a line of a mail may hold (RFC 5322 §2.1.1)."""

_WRITTEN = frozenset({"from", "to", "subject"})


class _Policy(policy.EmailPolicy):
    """The library takes apart what people wrote, to encode and to fold it. What we wrote stands as it is, on one line: of a
    long address to unsubscribe at it would make encoded words, which no mail program reads there (RFC 8058 wants the plain
    URI), and taking apart twenty headers was most of what a mail cost."""

    def header_store_parse(self, name: str, value: Any) -> tuple[str, Any]:
        if name.lower() in _WRITTEN:
            return super().header_store_parse(name, value)
        if not value.isascii() or not value.isprintable() or len(name) + 2 + len(value) > MAX_LINE_CHARS:
            raise Rejected(f"what {name} would say does not fit a header")
        return name, value

    def header_fetch_parse(self, name: str, value: Any) -> Any:
        return value

    def header_max_count(self, name: str) -> int:
        return 1


_POLICY = _Policy(linesep="\r\n", refold_source="none")

# One plain address: no list, no quoted local part, no letters that only look like another's (row 68 of the security list).
_ADDRESS = re.compile(
    r"(?!\.)[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}(?<!\.)@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,253}[A-Za-z0-9])?"
)


def open_channel(settings: Settings, closer: CloserSettings) -> Channel:
    if settings.smtp_url is None:
        return FileChannel(settings.data_dir / "mail", closer.mail_from)
    return SmtpChannel(read_smtp_url(settings.smtp_url), closer.mail_from)


@dataclass(frozen=True, slots=True)
class Server:
    host: str
    port: int
    username: str | None
    password: str | None
    tls: bool
    starttls: bool | None
    """True: insist; None: where offered; False: never."""
    verify: bool


def read_smtp_url(url: str) -> Server:
    """Raises `Misuse`, without repeating the password."""
    parts = urlsplit(url)
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname:
        raise Misuse("SMTP_URL must look like smtp://user:password@host:587 or smtps://user:password@host:465")
    try:
        port = parts.port or (465 if parts.scheme == "smtps" else 587 if parts.username else 25)
    except ValueError:
        raise Misuse("SMTP_URL: the port is not a number from 1 to 65535") from None
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    starttls = query.get("starttls", "auto")
    if starttls not in {"auto", "required", "never"} or query.get("verify", "yes") not in {"yes", "no"}:
        raise Misuse("SMTP_URL: starttls is auto, required or never; verify is yes or no")
    insists: bool | None = {"auto": None, "required": True, "never": False}[starttls]
    if insists is None and parts.scheme == "smtp" and parts.password and parts.hostname not in LOOPBACK:
        insists = True
    return Server(
        host=parts.hostname,
        port=port,
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        tls=parts.scheme == "smtps",
        starttls=False if parts.scheme == "smtps" else insists,
        verify=query.get("verify") != "no",
    )


# ── the message ──


def message_id(identity: str, mail_from: str) -> str:
    return f"<{sha256(identity.encode()).hexdigest()[:40]}@{_domain(mail_from)}>"


def compose(message: Outgoing, mail_from: str) -> EmailMessage:
    """Raises `Rejected` for what no mail may hold: a header that would break its line, an address that is not one."""
    for name, value in (("subject", message.subject), ("address", message.to), ("id", message.id)):
        if not value.isprintable() or not value.strip():
            raise Rejected(f"the {name} holds a character that no header may hold, or nothing")
    if len(message.to) > MAX_ADDRESS_CHARS or not _ADDRESS.fullmatch(message.to) or ".." in message.to:
        raise Rejected("the address is not one plain e-mail address")
    mail = EmailMessage(policy=_POLICY)
    name, address = parseaddr(mail_from)
    mail["From"] = Address(display_name=name, addr_spec=address)
    mail["To"] = Address(addr_spec=message.to)
    mail["Subject"] = message.subject
    mail["Message-ID"] = message_id(message.id, mail_from)
    if message.case_id is not None:
        # One thread a case: every mail refers to a root that stands for the case (as GitHub does for an issue).
        root = f"<case.{message.case_id}@{_domain(mail_from)}>"
        mail["In-Reply-To"] = root
        mail["References"] = root
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    if message.unsubscribe_url:
        mail["List-Unsubscribe"] = f"<{message.unsubscribe_url}>"
        mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    if message.traceparent:
        mail["traceparent"] = message.traceparent
    mail["Content-Language"] = message.language
    mail["MIME-Version"] = "1.0"
    # Derived too, so that every try is the same bytes.
    mail["Content-Type"] = f'multipart/alternative; boundary="=_{sha256(message.id.encode()).hexdigest()[:32]}"'
    mail.set_payload([_part("plain", message.text), _part("html", message.html)])
    return mail


def _part(subtype: str, text: str) -> EmailMessage:
    """Readable as it is sent where most of it is ASCII. Chinese would be nine characters for one: base64 has four."""
    body = "".join(f"{line}\n" for line in text.splitlines()).encode()
    readable = 6 * len(text) > 5 * len(text.encode())
    part = EmailMessage(policy=_POLICY)
    part["Content-Type"] = f'text/{subtype}; charset="utf-8"'
    part["Content-Transfer-Encoding"] = "quoted-printable" if readable else "base64"
    part.set_payload((b2a_qp(body, istext=True) if readable else encodebytes(body)).decode())
    return part


def on_the_wire(mail: EmailMessage) -> bytes:
    """CRLF line ends only (a lone CR or LF is how mails are smuggled), and leading dots doubled, without the final dot."""
    content = re.sub(rb"\r\n|\r|\n", b"\r\n", mail.as_bytes())
    if not content.endswith(b"\r\n"):
        content += b"\r\n"
    return re.sub(rb"(?m)^\.", b"..", content)


def _domain(mail_from: str) -> str:
    return parseaddr(mail_from)[1].rpartition("@")[2]


# ── the two ways ──


class SmtpChannel:
    name = "email"
    repeatable = False

    def __init__(self, server: Server, mail_from: str) -> None:
        self._server = server
        self._from = mail_from

    async def send(self, message: Outgoing) -> str:
        """One connection a message: nothing is left half-open between two, and a dead one is noticed at once."""
        mail = compose(message, self._from)
        content = on_the_wire(mail)
        smtp = self._client()
        try:
            return await self._deliver(smtp, message.to, content)
        finally:
            smtp.close()

    async def forget(self, identity: str) -> None:
        return

    async def close(self) -> None:
        return

    def _client(self) -> aiosmtplib.SMTP:
        server = self._server
        context = ssl.create_default_context()
        if not server.verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.username,
            password=server.password,
            use_tls=server.tls,
            start_tls=server.starttls,
            tls_context=context,
            local_hostname=_domain(self._from),
            timeout=SMTP_TIMEOUT_S,
        )

    async def _deliver(self, smtp: aiosmtplib.SMTP, to: str, content: bytes) -> str:
        before_dot = asyncio.get_running_loop().time() + BEFORE_DOT_S
        try:
            # A refusal here is about us (login, our sender's address, a busy server), never about the recipient.
            async with asyncio.timeout_at(before_dot):
                await smtp.connect()
                options = [f"SIZE={len(content)}"] if smtp.supports_extension("size") else []
                await smtp.mail(parseaddr(self._from)[1], options=options)
        except (SMTPException, OSError, ValueError) as error:
            raise Transient(f"the mail server: {_said(error)}") from error
        try:
            async with asyncio.timeout_at(before_dot):
                await smtp.rcpt(to)
                started = await smtp.execute_command(b"DATA")
            if started.code != 354:
                raise SMTPResponseException(started.code, started.message)
            protocol = smtp.protocol
            if protocol is None:
                raise Transient("the mail server: connection lost")
            protocol.write(content)
            await asyncio.sleep(0)  # a loss that is already known is still a definite one
            if not protocol.is_connected:
                raise Transient("the mail server: connection lost")
        except SMTPResponseException as error:
            raise _refused(error.code, error.message) from error
        except (SMTPException, OSError, ValueError) as error:
            raise Transient(f"the mail server: {_said(error)}") from error
        try:
            protocol.write(b".\r\n")
            answer = await protocol.read_response(timeout=DOT_TIMEOUT_S)
        except (SMTPException, OSError) as error:
            raise Unknown(f"no answer after the final dot: {_said(error)}") from error
        if answer.code != 250:
            raise _refused(answer.code, answer.message)
        with contextlib.suppress(SMTPException, OSError):
            await smtp.quit(timeout=1)
        return _harmless(answer.message)


class FileChannel:
    """A file by the message's id, so that writing it twice leaves one."""

    name = "file"
    repeatable = True

    def __init__(self, directory: Path, mail_from: str) -> None:
        self._directory = directory
        self._from = mail_from

    async def send(self, message: Outgoing) -> str:
        content = compose(message, self._from).as_bytes()
        name = _file_of(message.id)
        try:
            await asyncio.to_thread(_write, self._directory, name, content)
        except OSError as error:
            raise Transient(f"the mail could not be written: {error.strerror}") from error
        return name

    async def forget(self, identity: str) -> None:
        try:
            await asyncio.to_thread((self._directory / _file_of(identity)).unlink, missing_ok=True)
        except OSError as error:
            raise Transient(f"a mail could not be taken away: {error.strerror}") from error

    async def close(self) -> None:
        return


def _file_of(identity: str) -> str:
    return f"{sha256(identity.encode()).hexdigest()[:40]}.eml"


def _write(directory: Path, name: str, content: bytes) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    temporary = directory / f".{name}.{os.getpid()}"
    with os.fdopen(os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(directory / name)


def _refused(code: int, said: str) -> Transient | Rejected:
    """4yz: later. 5yz: never (RFC 5321 §4.2.1), but 53z asks us to log in or to use TLS, which an operator mends."""
    text = f"the mail server answered {code} {_harmless(said)}"
    return Rejected(text) if code >= 500 and not 530 <= code <= 538 else Transient(text)


def _said(error: BaseException) -> str:
    return _harmless(str(error)) or type(error).__name__


def _harmless(text: str) -> str:
    """On one line, short, and without the addresses that servers like to repeat."""
    flat = re.sub(r"\S+@\S+", "<address>", " ".join(text.split()))
    return "".join(c for c in flat if c.isprintable())[:200]
