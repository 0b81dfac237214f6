"""Whoever copies an example out of the API's description is not refused."""

from typing import Any

from services.ingest.examples import HEADERS
from tests.ingest.conftest import Server


async def test_every_example_of_a_body_is_taken(server: Server) -> None:
    headers = {"Authorization": f"Bearer {await server.new_key('admin')}"}
    tried = 0
    for path, operation in (await posts(server)).items():
        bodies = operation["requestBody"]["content"]
        for media, body in bodies.items():
            assert body["examples"], f"{path} takes {media}, and shows none"
            for example in body["examples"].values():
                tried += 1
                binary = path == "/v1/events" and media == "application/json"
                given = {"Content-Type": media, **(HEADERS if binary else {})}
                url = path.replace("{source}", "open")
                value = example["value"]
                sent = {"content": value} if isinstance(value, str) else {"json": value}
                answer = await server.http.post(url, headers=headers | given, **sent)
                expected = 200 if path in {"/v1/webhooks/{source}", "/v1/quarantine/redrive"} else 202
                assert answer.status_code == expected, f"{path}: {example['summary']}: {answer.text}"
                if path == "/v1/feedback/batch":
                    assert answer.json()["rejected"] == []
    assert tried >= 8
    assert len(await server.received()) == 12
    assert await server.dead_letters() == []


async def test_every_answer_shows_what_it_looks_like(server: Server) -> None:
    for path, operation in (await posts(server)).items():
        if path != "/v1/quarantine/redrive":
            (good,) = (reply for status, reply in operation["responses"].items() if status.startswith("2"))
            assert good["content"]["application/json"]["examples"], path


async def posts(server: Server) -> dict[str, Any]:
    document = (await server.http.get("/openapi.json")).json()
    found = {path: methods["post"] for path, methods in document["paths"].items() if "post" in methods}
    assert len(found) == 5
    return found
