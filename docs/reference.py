"""The reference pages, made of what the code says of itself: `docs/http.md` of OpenAPI, `docs/topics.md` of AsyncAPI. ●

Markdown, because it is read wherever the checkout is, without a server and without the internet. `make reference` writes
both; a test holds them to the code.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from shared.web.reference import Line, Member, Operation, lines, operations, own, resolved, schemas

_HEAD = "<!-- Made by `make reference`; what is changed here by hand is lost. -->\n"


def http(document: Mapping[str, Any]) -> str:
    """OpenAPI → a page. Routes by their first tag, then by path."""
    page = [_HEAD, "# HTTP\n", *_HTTP_INTRO]
    for tag, found in operations(document).items():
        page.append(f"## {tag.capitalize()}\n")
        for operation in found:
            page.extend(_operation(operation))
    page.append("## Schemas\n")
    for name, said, found_lines in schemas(document):
        page += [f"### {name}\n", *([f"{_cell(said)}\n"] if said else []), *_table("member", found_lines), ""]
    return "\n".join(page).rstrip() + "\n"


_HTTP_INTRO = (
    "`Authorization: Bearer KEY` on every route that does not say otherwise (`flywheel keys create --scope …`). Webhooks and"
    " the callbacks of channels take no key: what they carry is verified by the sender's own scheme. Customers' pages and"
    " forms (`/loop/…`) take none either: the link is signed. Errors are `application/problem+json` (RFC 9457) with a stable"
    " `type`; a `503` means *unknown: send the same again, with the same id*. A running service serves this page as `/docs`,"
    " and for machines as `/openapi.json`.\n",
)


def _operation(operation: Operation) -> Iterator[str]:
    yield f"### `{operation.method} {operation.path}`\n"
    yield f"{operation.said}\n"
    if not operation.takes_key:
        yield "Takes no key.\n"
    if operation.parameters:
        yield "| parameter | in | |\n|---|---|---|"
        yield from map(_line, operation.parameters)
        yield ""
    if operation.body:
        yield from _table("body", operation.body)
        yield ""
    elif operation.media:
        yield f"Body: {operation.body_kind} ({', '.join(f'`{media}`' for media in operation.media)}).\n"
    for example in operation.examples:
        yield f"{example.summary} (`{example.media}`):\n\n```json\n{example.text}\n```\n"
    yield "| status | answer | |\n|---|---|---|"
    for status, kind, said, _ in operation.answers:
        yield f"| {status} | {kind} | {_cell(said)} |"
    yield ""


def _everything(document: Mapping[str, Any], schema: Mapping[str, Any], above: str = "") -> Iterator[Member]:
    """As it stands on a topic, down to the last member: `routing.team`, `scores[].metric`."""
    for name, required, member in own(schema):
        yield f"{above}{name}", required, member
        is_list = member.get("type") == "array"
        below = resolved(document, member["items"] if is_list else member)
        yield from _everything(document, below, f"{above}{name}{'[]' if is_list else ''}.")


def _table(what: str, found: Sequence[Line]) -> Iterator[str]:
    """Nothing where there are no members."""
    if found:
        yield f"| {what} | type | |\n|---|---|---|"
        yield from map(_line, found)


def _line(line: Line) -> str:
    return f"| `{line.name}`{' (required)' if line.required else ''} | {line.kind} | {_cell(line.said)} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def topics(document: Mapping[str, Any], by_path: Mapping[str, Mapping[str, Any]]) -> str:
    """AsyncAPI, and the schemas that it refers to by their paths → a page: the topics, and the members of what is on them."""
    page = [_HEAD, "# Topics\n", *_TOPICS_INTRO]
    for name, channel in sorted(document["channels"].items(), key=lambda item: str(item[1].get("address", item[0]))):
        page += [f"## `{channel.get('address', name)}`\n", f"{channel.get('description', '').strip()}\n"]
        for message in channel.get("messages", {}).values():
            meant = resolved(document, message)
            said = f"- **{meant.get('name') or meant.get('title')}**: {_cell(meant.get('summary', ''))}"
            page.append(said.rstrip(": "))
        page.append("")
    page.append("# Messages\n")
    for name, message in sorted(document["components"]["messages"].items()):
        page += [f"## {name}\n", f"{_cell(message.get('summary', ''))}\n"]
        if "payload" in message and "$ref" in message["payload"].get("schema", {}):
            schema = by_path[message["payload"]["schema"]["$ref"]]
            page += [*_table("member", lines(_everything(schema, schema))), ""]
        if "headers" in message:
            page += [*_table("header", lines(own(message["headers"]))), ""]
    return "\n".join(page).rstrip() + "\n"


_TOPICS_INTRO = (
    "CloudEvents 1.0 in binary mode: `ce_id`, `ce_type`, `ce_source`, `ce_time`, `ce_workspace` and `traceparent` in the"
    " headers, JSON in the value. Read with `isolation.level=read_committed`. Members that you do not know are to be kept: they"
    " are added, never renamed. The schemas stand in [deploy/schemas](../deploy/schemas), the whole document in"
    " [deploy/asyncapi.json](../deploy/asyncapi.json), and a running service serves it as `/asyncapi.json`.\n",
)
