"""The ceiling of a batch here: read the body, decode each line into a typed struct, say how many. Nothing is kept."""

from datetime import datetime
from typing import Any

import msgspec

from bench.peers import port_argument, serve


class Score(msgspec.Struct):
    metric: str
    value: float


class Customer(msgspec.Struct):
    id: str | None = None
    email: str | None = None


class Feedback(msgspec.Struct):
    source: str
    external_id: str | None = None
    text: str | None = None
    language: str | None = None
    scores: list[Score] = []
    customer: Customer | None = None
    channel: str | None = None
    occurred_at: datetime | None = None


decode_lines = msgspec.json.Decoder(Feedback).decode_lines


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            break
    body = b'{"accepted":%d}' % len(decode_lines(b"".join(parts)))
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 202, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    serve(app, port_argument())
