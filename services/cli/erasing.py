"""`flywheel erase`: asks for it, and says what went."""

from collections.abc import Mapping
from typing import Any

from services.cli import client, show

_WORDS: Mapping[str, str] = {
    "customers": "names",
    "feedback": "pieces of feedback",
    "cases": "cases",
    "cases_ended": "of them unfinished, declined now",
    "timeline": "steps of timelines",
    "mails": "mails",
    "activity": "deeds",
    "thanks": "thanks",
    "unsubscribed": "unsubscribed names",
    "deliveries": "words that teams were to be told",
    "unsent": "answers on their way",
    "asked": "views and exports that named them",
}


def erase(customer: str, dry_run: bool) -> dict[str, Any]:
    """What looks like an address is taken for one, and for an id, since it may be both."""
    body = {"customer": customer, "dry_run": dry_run} | ({"email": customer} if "@" in customer.strip("@") else {})
    found: dict[str, Any] = client.call("closer", "POST", "/v1/erasures", json=body)
    return found


def said(done: Mapping[str, Any]) -> None:
    show.say(f"{'would be erased' if done['dry_run'] else 'erased'}: {show.short(', '.join(done['names']), 200)}")
    for name, words in _WORDS.items():
        if done["removed"][name]:
            show.say(f"  {done['removed'][name]:>8,}  {words}")
    if not any(done["removed"].values()):
        show.say("  nothing: it was erased before, or is not known here")
    show.say(f"from now on: {done['subject']}")
    for topic, until in done["topics"].items():
        show.say(f"  {topic} has nothing of them after {until[:10]}")
