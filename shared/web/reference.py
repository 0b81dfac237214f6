"""What the API says of itself, for people: OpenAPI read into what stands on a page, and that page as HTML. ●

`/docs` is made of it (and `docs/http.md`): no script, and nothing is loaded from elsewhere, for a service may run where there
is no internet and its readers' browsers may be kept from it.
"""

import json
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

METHODS = ("get", "post", "put", "patch", "delete")
FOLDER = Path(__file__).parent
_SAYS_NOTHING = "Successful Response"
"""What the framework puts where nothing was said."""


class Line(NamedTuple):
    """A member, a parameter or an answer."""

    name: str
    kind: str
    """Its type with its limits; of a parameter where it stands."""
    said: str
    required: bool = False


class Example(NamedTuple):
    media: str
    summary: str
    text: str


class Operation(NamedTuple):
    method: str
    path: str
    said: str
    takes_key: bool
    parameters: list[Line]
    body: list[Line]
    """Empty where the body is no object; then `body_kind` says what it is."""
    body_kind: str
    media: list[str]
    examples: list[Example]
    answers: list[Line]

    @property
    def anchor(self) -> str:
        return f"{self.method}{self.path}".translate(str.maketrans("/{}.", "----"))


Schema = Mapping[str, Any]
Member = tuple[str, bool, Schema]
"""Its path, whether it is required, its schema."""


def operations(document: Schema) -> dict[str, list[Operation]]:
    """By their first tag, then by path."""
    groups: dict[str, list[Operation]] = {}
    for path, methods in sorted(document["paths"].items()):
        for method in METHODS:
            if method in methods:
                tag = methods[method].get("tags", ["other"])[0]
                groups.setdefault(tag, []).append(_operation(document, method, path, methods[method]))
    return dict(sorted(groups.items()))


def schemas(document: Schema) -> Iterator[tuple[str, str, list[Line]]]:
    """(name, what it is, its members), but for those of one route alone, where their members stand."""
    for name, schema in sorted(document["components"]["schemas"].items()):
        if "__" not in name:
            yield name, schema.get("description", ""), lines(members(schema))


def _operation(document: Schema, method: str, path: str, operation: Schema) -> Operation:
    content: Mapping[str, Schema] = operation.get("requestBody", {}).get("content", {})
    schema: Schema | None = next((media.get("schema") for media in content.values()), None)
    body = resolved(document, schema) if schema is not None else {}
    return Operation(
        method=method.upper(),
        path=path,
        said=operation.get("description") or operation.get("summary") or "",
        takes_key=bool(operation.get("security")),
        parameters=[
            Line(
                one["name"],
                one["in"],
                one.get("description") or type_of(one.get("schema", {})),
                bool(one.get("required")),
            )
            for one in operation.get("parameters", ())
        ],
        body=lines(own(body)),
        body_kind=type_of(schema) if schema is not None else "",
        media=list(content),
        examples=[example for media, one in content.items() for example in _examples(media, one)],
        answers=[_answer(status, reply) for status, reply in sorted(operation["responses"].items())],
    )


def _answer(status: str, reply: Schema) -> Line:
    """Its schemas; where the code names none, it is not JSON of one form."""
    kinds = dict.fromkeys(type_of(media.get("schema", {})) for media in reply.get("content", {}).values())
    said = reply.get("description", "")
    return Line(status, " or ".join(kinds), "" if said == _SAYS_NOTHING else said)


def _examples(media: str, content: Schema) -> Iterator[Example]:
    for example in content.get("examples", {}).values():
        value = example["value"]
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
        yield Example(media, example.get("summary", ""), text.rstrip())


def own(schema: Schema) -> Iterator[Member]:
    required = schema.get("required", ())
    for name, member in schema.get("properties", {}).items():
        yield name, name in required, member


def members(schema: Schema, above: str = "") -> Iterator[Member]:
    """With the members of what has no name of its own, as `errors[].field`."""
    for name, required, member in own(schema):
        yield f"{above}{name}", required, member
        yield from members(member.get("items", {}), f"{above}{name}[].")


def lines(found: Iterator[Member]) -> list[Line]:
    return [
        Line(path, type_of(member) + _limits(member), member.get("description", ""), required)
        for path, required, member in found
    ]


def _limits(schema: Schema) -> str:
    """How long, how large, how many."""
    for one in (schema, *schema.get("anyOf", ())):
        if "maxLength" in one:
            return f", at most {one['maxLength']:,} characters"
        if "maxItems" in one:
            return f", at most {one['maxItems']:,}"
        if "minimum" in one and "maximum" in one:
            return f", {one['minimum']} to {one['maximum']}"
    return ""


def resolved(document: Schema, schema: Schema) -> Schema:
    """What a reference means; of several possibilities, the one that is an object."""
    if "$ref" in schema:
        found: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return resolved(document, found)
    for one in schema.get("anyOf", ()):
        meant = resolved(document, one)
        if "properties" in meant:
            return meant
    return schema


def type_of(schema: Schema) -> str:
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2].rpartition("__")[2])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(type_of(one) for one in schema["anyOf"] if one.get("type") != "null"))
    if schema.get("type") == "array":
        return f"list of {type_of(schema.get('items', {}))}"
    return str(schema.get("format") or schema.get("const") or schema.get("type") or "any")


# ── the page ──


def page(document: Schema) -> str:
    render, style = _looks()
    return render(
        title=document["info"]["title"], groups=operations(document), schemas=list(schemas(document)), style=style
    )


def policy() -> str:
    """What the page may do: nothing, in its own style."""
    digest = b64encode(sha256(_looks()[1].encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


@cache
def _looks() -> tuple[Callable[..., str], str]:
    """The template and its style; Jinja is loaded when somebody looks."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup, escape

    def code(text: str) -> Markup:
        """`so` is shown as code."""
        parts = text.split("`")
        return Markup("").join(
            Markup("<code>{}</code>").format(part) if number % 2 else escape(part) for number, part in enumerate(parts)
        )

    pages = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters["code"] = code
    return pages.get_template("reference.html").render, (FOLDER / "reference.css").read_text("utf-8")
