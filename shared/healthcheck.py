"""`python -m shared.healthcheck http://127.0.0.1:8081/readyz`: 0 when it answers 200, else 1, and why on stderr.

For a container's health check: the image has no curl, and this starts in the time that a shell takes.
"""

import http.client
import sys
from urllib.parse import urlsplit

TIMEOUT_S = 3.0
SHOWN_BYTES = 500


def look(url: str) -> str | None:
    """What is wrong; None: nothing."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        return f"{url!r} is not an http:// address"
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", parts.path or "/")
        answer = connection.getresponse()
        said = answer.read(SHOWN_BYTES).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return f"{url}: {error or type(error).__name__}"
    finally:
        connection.close()
    return None if answer.status == 200 else f"{url}: {answer.status} {said}"


def main(arguments: list[str]) -> int:
    wrong = look(arguments[0]) if len(arguments) == 1 else "give one address"
    if wrong is not None:
        print(wrong, file=sys.stderr)  # noqa: T201
    return 0 if wrong is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
