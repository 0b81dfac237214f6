"""What a user would write in an afternoon: FastAPI, a pydantic model as the body, aiokafka, `send_and_wait`.

No keys, no identity, no dead letters; `acks="all"`. The batch is read line by line into the same model, sent without
waiting between, and awaited together.
"""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Literal

from aiokafka import AIOKafkaProducer
from fastapi import FastAPI, Request
from pydantic import AwareDatetime, BaseModel, Field

from bench.peers import port_argument, serve

TOPIC = "plain"
producer: Any = None


class Score(BaseModel):
    metric: str
    value: float


class Customer(BaseModel):
    id: str | None = None
    email: str | None = None


class Feedback(BaseModel):
    source: str = Field(min_length=1, max_length=255)
    external_id: str | None = None
    text: str | None = Field(default=None, max_length=30_000)
    title: str | None = None
    language: str | None = None
    scores: list[Score] = []
    customer: Customer | None = None
    channel: Literal["survey", "ticket", "chat", "review", "social", "email", "in_app"] | None = None
    occurred_at: AwareDatetime | None = None
    attributes: dict[str, Any] = {}


class Stored(Feedback):
    id: str
    received_at: datetime


class Accepted(BaseModel):
    id: str
    received_at: datetime


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    global producer  # noqa: PLW0603
    producer = AIOKafkaProducer(bootstrap_servers=os.environ["KAFKA_BOOTSTRAP_SERVERS"], acks="all")
    await producer.start()
    yield
    await producer.stop()


app = FastAPI(lifespan=lifespan)


def stored(feedback: Feedback) -> Stored:
    return Stored(**feedback.model_dump(), id=str(uuid.uuid4()), received_at=datetime.now(UTC))


def key_of(item: Stored) -> bytes:
    return ((item.customer and item.customer.id) or item.id).encode()


@app.post("/v1/feedback", status_code=202)
async def post(feedback: Feedback) -> Accepted:
    item = stored(feedback)
    await producer.send_and_wait(TOPIC, item.model_dump_json().encode(), key=key_of(item))
    return Accepted(id=item.id, received_at=item.received_at)


@app.post("/v1/feedback/batch", status_code=202)
async def post_batch(request: Request) -> dict[str, Any]:
    body = await request.body()
    items = [stored(Feedback.model_validate_json(line)) for line in body.splitlines() if line]
    sent = [await producer.send(TOPIC, item.model_dump_json().encode(), key=key_of(item)) for item in items]
    await asyncio.gather(*sent)
    return {"accepted": len(items), "ids": [item.id for item in items]}


if __name__ == "__main__":
    serve(app, port_argument())
