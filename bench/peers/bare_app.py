"""The ceiling of HTTP here: an answer as long as ours, made of nothing. The body is not even looked at."""

from typing import Any

from bench.peers import port_argument, serve

BODY = b'{"id":"00000000-0000-5000-8000-000000000000","received_at":"2026-11-22T08:00:00.000Z"}'
START = {
    "type": "http.response.start",
    "status": 202,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))],
}
END = {"type": "http.response.body", "body": BODY}


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send(START)
        await send(END)


if __name__ == "__main__":
    serve(app, port_argument())
