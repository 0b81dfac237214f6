"""The closer's API, as people's actions reach it: over HTTP, in the name of the person who acts.

The console changes nothing about cases by itself. It asks the closer with a pass (`shared.people`), so that the closer
decides, refuses, and writes down who it was.
"""

import hmac
from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from services.console.visit import Visit
from shared.errors import Transient
from shared.links import Links
from shared.people import Pass, Person, sign_pass
from shared.web.problems import Problem

if TYPE_CHECKING:
    import httpx2

TIMEOUT_S = 15


class Api:
    """Another service's routes. Its HTTP client is loaded with the first call."""

    def __init__(self, name: str, url: str, links: Links, secret: str) -> None:
        self.url = url
        self._name, self._links = name, links
        self._key = sha256(b"flywheel actor\0" + secret.encode()).digest()
        self._http: httpx2.AsyncClient | None = None

    async def call(
        self, visit: Visit, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        """Its JSON. Raises the `Problem` that it answers, or `Transient` when it does not."""
        import httpx2

        if self._http is None:
            self._http = httpx2.AsyncClient(
                base_url=self.url, timeout=TIMEOUT_S, follow_redirects=False, trust_env=False
            )
        bearer = {"Authorization": f"Bearer {self.bearer(visit.workspace, visit.person)}"}
        try:
            answer = await self._http.request(method, path, json=body, headers={**bearer, **(headers or {})})
            document = answer.json()
        except (httpx2.HTTPError, ValueError) as error:
            raise Transient(f"the {self._name} cannot be reached: {type(error).__name__}", retry_after=2) from None
        if answer.status_code >= 400:
            raise refused(answer.status_code, document)
        return document

    def bearer(self, workspace: str, person: Person) -> str:
        """A pass, for the next minute. The actor is a pseudonym, the same for a person wherever they act."""
        digest = hmac.digest(self._key, f"{workspace}\0{person.email}".encode(), "sha256").hex()
        return sign_pass(self._links, Pass(workspace, f"person:{digest[:24]}", person.email, person.role))

    async def close(self) -> None:
        if self._http is not None:
            await self._http.aclose()


def refused(status: int, document: Mapping[str, Any]) -> Problem:
    known = {"type", "title", "status", "detail", "instance", "errors", "request_id"}
    return Problem(
        status,
        str(document.get("type", "")).rpartition("/")[2],
        str(document.get("title", "")),
        document.get("detail"),
        errors=document.get("errors") or (),
        **{name: value for name, value in document.items() if name not in known},
    )
