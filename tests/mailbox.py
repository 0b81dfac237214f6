"""A real SMTP server that keeps what it is given, in a thread of its own."""

import email
import email.policy
import threading
import time
from email.message import EmailMessage
from types import TracebackType
from typing import Any, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP

from tests.brokers import free_port


class Mailbox:
    """`with Mailbox() as box: … box.url … box.to("ann@example.com")`."""

    def __init__(self) -> None:
        self._mails: list[EmailMessage] = []
        self._lock = threading.Lock()
        self._port = free_port()
        self._controller = _Controller(self, hostname="127.0.0.1", port=self._port)
        self.url = f"smtp://127.0.0.1:{self._port}"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        with self._lock:
            self._mails.append(mail)
        return "250 OK"

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._controller.stop()

    def to(self, address: str) -> list[EmailMessage]:
        """In the order they came."""
        with self._lock:
            return [mail for mail in self._mails if address.lower() in str(mail["To"]).lower()]

    def all(self) -> list[EmailMessage]:
        with self._lock:
            return list(self._mails)

    def wait_for(self, address: str, count: int, seconds: float = 20.0) -> list[EmailMessage]:
        deadline = time.monotonic() + seconds
        while len(found := self.to(address)) < count:
            assert time.monotonic() < deadline, f"{len(found)} of {count} mails to {address} after {seconds:.0f} s"
            time.sleep(0.02)
        return found


class _Controller(Controller):
    def factory(self) -> SMTP:
        return SMTP(self.handler, enable_SMTPUTF8=True, hostname="mailbox.test")


def plain(mail: EmailMessage) -> str:
    """The text part of a mail."""
    part = mail.get_body(("plain",))
    assert part is not None
    return str(part.get_content())
