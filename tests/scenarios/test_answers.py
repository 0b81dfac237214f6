"""What the reference says of an answer is what a running service answers, to the last member."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from services.closer import shown
from services.console.shown import CustomerShown, KnownImports, MeasuresShown, SourcesShown, Trace
from services.router.api import ExplainedAnswer, RulesInForce
from tests.deployment import Deployment


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with Deployment.all_in_one(tmp_path_factory.mktemp("answers")) as made:
        made.until((made.data_dir / "sample-loaded").exists, seconds=120)
        yield made


@pytest.fixture(scope="module")
def case(up: Deployment) -> dict[str, Any]:
    closer = up.http("closer")
    cases = up.until(lambda: closer.get("/v1/cases", params={"state": "open"}).json()["items"])
    found: dict[str, Any] = next(case for case in cases if case["customer"])
    for account in (ACCOUNT, {"name": "Bare"}):
        put = closer.put(f"/v1/accounts/{account['name']}", json=account)
        assert put.status_code == 201, put.text
        shown.AccountShown.model_validate(put.json())
    put = closer.put("/v1/accounts", json={"items": [{"id": "a", "name": "A"}]})
    shown.AccountsWritten.model_validate(put.json())
    return found


ACCOUNT: dict[str, Any] = {
    "name": "Acme",
    "tier": "gold",
    "revenue": {"amount": 12.5, "currency": "EUR"},
    "renewal_on": "2027-03-31",
    "owner": "li@example.com",
    "outcome": {"wanted": "Half the calls", "by": "2027-01-31", "reached": True},
}
AT = {"team": "support", "at": "2026-11-27T10:00:00Z"}
READ: tuple[tuple[str, str, dict[str, Any], type[BaseModel]], ...] = (
    ("closer", "/v1/cases?limit=200", {}, shown.CasePage),
    ("closer", "/v1/cases/{case}", {}, shown.CaseWhole),
    ("closer", "/v1/notifications?limit=200", {}, shown.NotificationPage),
    ("closer", "/v1/sla/explain", AT, shown.SlaExplained),
    ("closer", "/v1/sla/explain", AT | {"team": "product"}, shown.SlaExplained),
    ("closer", "/v1/deliveries", {}, shown.DeliveryPage),
    ("console", "/v1/feedback/{feedback}/trace", {}, Trace),
    ("closer", "/v1/initiatives", {}, shown.InitiativePage),
    ("closer", "/v1/accounts", {}, shown.AccountPage),
    ("closer", "/v1/accounts/Acme", {}, shown.AccountShown),
    ("console", "/v1/customers/{customer}", {}, CustomerShown),
    ("console", "/v1/measures", {}, MeasuresShown),
    ("console", "/v1/measures", {"by": "team"}, MeasuresShown),
    ("console", "/v1/sources", {}, SourcesShown),
    ("router", "/v1/rules", {}, RulesInForce),
)
EXPLAINED = {"text": "Please add dark mode; and I was charged twice."}
DONE: tuple[tuple[str, str, Any, type[BaseModel]], ...] = (
    ("closer", "/v1/cases/{case}/preview", {"answer": "Done."}, shown.MailPreview),
    ("closer", "/v1/cases/{case}/presence", {"doing": "editing"}, shown.PresentAtCase),
    ("closer", "/v1/cases/{case}/acknowledge", None, shown.CaseWhole),
    ("closer", "/v1/cases/{case}/assign", {"to": "li@example.com"}, shown.CaseWhole),
    ("closer", "/v1/cases/{case}/note", {"text": "Seen."}, shown.CaseWhole),
    ("closer", "/v1/cases/{case}/wait", {"reason": "asked"}, shown.CaseWhole),
    ("closer", "/v1/cases/{case}/resume", None, shown.CaseWhole),
    ("closer", "/v1/initiatives", {"title": "Dark mode"}, shown.InitiativeWhole),
    ("closer", "/v1/cases/{case}/resolve", {"answer": "Done."}, shown.CaseWhole),
    ("closer", "/v1/cases/{case}/reopen", {"reason": "not yet"}, shown.CaseWhole),
    ("closer", "/v1/deliveries/redrive", None, shown.DeliveriesRedriven),
    ("console", "/v1/imports/known", {"items": [["x", "y"]]}, KnownImports),
    ("router", "/v1/rules/explain", EXPLAINED, ExplainedAnswer),
    ("closer", "/v1/erasures", {"customer": "nobody", "dry_run": True}, shown.Erased),
    ("closer", "/v1/erasures", {"email": "nobody@example.com"}, shown.Erased),
    ("router", "/v1/rules/explain", [EXPLAINED, {"text": "好用"}], ExplainedAnswer),
)


def _address(template: str, case: dict[str, Any]) -> str:
    template = template.replace("{customer}", str(case["customer"]))
    return template.replace("{case}", case["id"]).replace("{feedback}", case["first_feedback_id"])


@pytest.mark.parametrize(("service", "path", "params", "model"), READ, ids=[f"{one[1]} {one[2]}" for one in READ])
def test_what_is_read(
    up: Deployment, case: dict[str, Any], service: str, path: str, params: dict[str, Any], model: type[BaseModel]
) -> None:
    answer = up.http(service).get(_address(path, case), params=params or None)
    assert answer.status_code == 200, answer.text
    model.model_validate(answer.json())


def test_what_is_done(up: Deployment, case: dict[str, Any]) -> None:
    """In this order: a case's way."""
    for service, path, body, model in DONE:
        answer = up.http(service).post(_address(path, case), json=body)
        assert answer.status_code == 200, (path, answer.text)
        model.model_validate(answer.json())


def test_every_answer_in_json_says_what_it_holds(up: Deployment) -> None:
    """But the webhooks', which are the providers' own."""
    vague = []
    for path, operations in up.http("ingest").get("/openapi.json").json()["paths"].items():
        for method, operation in operations.items():
            for media, content in operation["responses"].get("200", {}).get("content", {}).items():
                if media == "application/json" and not content.get("schema", {}).get("$ref"):
                    vague.append(f"{method} {path}")
    assert [one for one in vague if "webhooks" not in one and "callbacks" not in one] == []
