"""Every verb, in the order an event meets them: feedback, routing, cases, then what runs and mends the rest.

`operate` brings the services along and is imported by the verbs that need it, so that the others start at once.
"""

import contextlib
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli import client, show
from shared.errors import Misuse

app = typer.Typer(
    name="flywheel",
    help="Customers speak, the right team hears it, somebody acts, and the customer is told.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="--config DIR and --data-dir DIR are taken before and after every verb.",
)
Json = Annotated[bool, typer.Option("--json", help="Print data as JSON, and nothing else.")]


# ── feedback ──


@app.command()
def send(
    text: Annotated[str | None, typer.Option(help="What was said.")] = None,
    source: Annotated[str, typer.Option(help="Where it was said.")] = "cli",
    external_id: Annotated[
        str | None, typer.Option(help="Your own id for it: the same id is the same feedback.")
    ] = None,
    customer: Annotated[str | None, typer.Option(help="The customer's id.")] = None,
    email: Annotated[str | None, typer.Option(help="The customer's e-mail address.")] = None,
    language: Annotated[str | None, typer.Option(help="zh, en, de …")] = None,
    score: Annotated[list[str] | None, typer.Option(help="metric=value, for example nps=3. May be repeated.")] = None,
    json_: Json = False,
) -> None:
    """Send one piece of feedback."""
    body: dict[str, Any] = {"source": source}
    optional = {"text": text, "external_id": external_id, "language": language}
    body.update({name: value for name, value in optional.items() if value is not None})
    if score:
        body["scores"] = [_score(pair) for pair in score]
    who = {name: value for name, value in (("id", customer), ("email", email)) if value}
    if who:
        body["customer"] = who
    answer = client.call("ingest", "POST", "/v1/feedback", content=json.dumps(body).encode())
    show.as_json(answer) if json_ else show.say(f"{answer['id']}  received at {answer['received_at']}")


def _score(pair: str) -> dict[str, Any]:
    metric, _, value = pair.partition("=")
    try:
        return {"metric": metric, "value": float(value)}
    except ValueError:
        raise Misuse(f"--score takes metric=value, for example nps=3, not {pair!r}") from None


@app.command()
def tail(
    team: str,
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="From the oldest that is kept.")] = False,
    json_: Json = False,
) -> None:
    """Follow what is routed to a team, until Ctrl-C."""
    start = {"from": "beginning" if from_beginning else "end"}
    with contextlib.suppress(KeyboardInterrupt):  # the way to end it
        for event in client.events("router", f"/v1/teams/{team}/feedback", start, show.warn):
            value = json.loads(event["data"])
            show.as_lines([value]) if json_ else show.say(_tailed(value))


def _tailed(value: dict[str, Any]) -> str:
    routing = value["routing"]
    said = show.short(value.get("text") or value.get("title") or show.scores(value.get("scores")), 70)
    tags = ",".join(routing["tags"]) or "-"
    return f"{show.clock(value['received_at'])}  {routing['priority']:<6} {routing['kind']:<9} {tags:<24} {said}"


@app.command()
def trace(feedback_id: str, json_: Json = False) -> None:
    """What happened to this feedback, step by step, with reasons and times."""
    found = client.call("console", "GET", f"/v1/feedback/{feedback_id}/trace")
    show.as_json(found) if json_ else show.trace(found)


# ── rules and clocks ──

rules = typer.Typer(help="Check, test and question the routing rules.", no_args_is_help=True)
app.add_typer(rules, name="rules")


@rules.command("check")
def rules_check(json_: Json = False) -> None:
    """Load the configuration whole, prove every example, and say what is wrong, with line and column."""
    from services.cli import operate

    ruleset = operate.checked()
    found = {"version": ruleset.version, "rules": len(ruleset.rules), "examples": ruleset.examples}
    show.as_json(found) if json_ else show.say(
        f"{operate.where()} is good: version {found['version']}, {found['rules']} rules, {found['examples']} examples proved"
    )


@rules.command("test")
def rules_test(json_: Json = False) -> None:
    """Prove the examples of every rule."""
    rules_check(json_)


@rules.command("explain")
def rules_explain(
    text: Annotated[str | None, typer.Option(help="One text.")] = None,
    from_: Annotated[Path | None, typer.Option("--from", help="A JSONL file of feedback, one object a line.")] = None,
    json_: Json = False,
) -> None:
    """What would be decided, and why. Nothing is stored. A line that would not be taken as feedback is named, and the
    others are explained."""
    from services.cli import operate

    if (text is None) == (from_ is None):
        raise Misuse("give --text or --from FILE.jsonl")
    if text is not None and not text.strip():
        raise Misuse("--text has nothing to read")
    explainer = operate.explainer()
    wrong: list[str] = []

    def say_wrong(what: str) -> None:
        wrong.append(what)
        show.warn(what)

    bodies = (
        operate.feedback_lines(from_, explainer.body, say_wrong)
        if from_ is not None
        else iter([explainer.text(text or "")])
    )
    for decision in explainer.explained(bodies):
        if json_:
            show.as_lines([decision])
        else:
            tags = ", ".join(decision["tags"]) or "no tags"
            show.say(f"{decision['team']}  {decision['kind']}  {decision['priority']}  {decision['language']}  {tags}")
            for reason in decision["reasons"]:
                show.say(f"  {reason['text']}")
    if wrong:
        raise typer.Exit(1)


sla = typer.Typer(help="What would be due when.", no_args_is_help=True)
app.add_typer(sla, name="sla")


@sla.command("explain")
def sla_explain(
    team: Annotated[str, typer.Option(help="Whose clock.")],
    at: Annotated[str, typer.Option(help="When the feedback comes in, RFC 3339 with a zone.")],
    priority: Annotated[str, typer.Option(help="urgent, high, normal or low.")] = "normal",
    tier: Annotated[str | None, typer.Option(help="The customer's tier.")] = None,
    json_: Json = False,
) -> None:
    """What would be due when, on the team's clock and on the customer's."""
    from services.cli import operate

    found = operate.sla_explained(team, priority, tier, at)
    if json_:
        show.as_json(found)
        return
    show.sla(found)


# ── cases ──


@app.command()
def cases(
    team: Annotated[str | None, typer.Option()] = None,
    state: Annotated[str | None, typer.Option()] = None,
    assignee: Annotated[str | None, typer.Option()] = None,
    customer: Annotated[str | None, typer.Option(help="The customer's id as sent.")] = None,
    breached: Annotated[bool | None, typer.Option("--breached/--not-breached")] = None,
    q: Annotated[str | None, typer.Option(help="Words in the feedback, in any script.")] = None,
    cursor: Annotated[str | None, typer.Option(help="next_cursor of the page before.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    json_: Json = False,
) -> None:
    """List cases."""
    wanted = {"team": team, "state": state, "assignee": assignee, "customer": customer, "q": q, "cursor": cursor}
    params: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None} | {"limit": limit}
    if breached is not None:
        params["breached"] = str(breached).lower()
    page = client.call("closer", "GET", "/v1/cases", params=params)
    if json_:
        show.as_json(page)
        return
    show.table(
        ["case", "state", "team", "priority", "assignee", "opened", "customer", "theme"],
        [
            (
                c["id"],
                c["state"],
                c["team"],
                c["priority"],
                c["assignee"],
                c["opened_at"][:16],
                c["customer"],
                c["theme"],
            )
            for c in page["items"]
        ],
        empty="no such case",
    )
    if page["next_cursor"]:
        show.say(f"more: --cursor {page['next_cursor']}")


@app.command()
def case(case_id: str, json_: Json = False) -> None:
    """One case with its timeline."""
    _print_case(client.call("closer", "GET", f"/v1/cases/{case_id}"), json_)


@app.command()
def notifications(
    status: Annotated[
        str | None, typer.Option(help="pending, sending, sent, withheld, failed, or unknown: nobody can know.")
    ] = None,
    cursor: Annotated[str | None, typer.Option(help="next_cursor of the page before.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    json_: Json = False,
) -> None:
    """List what was sent to customers, and what became of it."""
    wanted = {"status": status, "cursor": cursor, "limit": limit}
    params = {name: value for name, value in wanted.items() if value is not None}
    page = client.call("closer", "GET", "/v1/notifications", params=params)
    if json_:
        show.as_json(page)
        return
    columns = ("case_id", "kind", "channel", "status", "reason", "created_at", "attempts")
    show.table(columns, [[row[c] for c in columns] for row in page["items"]], empty="no such notification")
    if page["next_cursor"]:
        show.say(f"more: --cursor {page['next_cursor']}")


@app.command()
def ack(case_id: str, json_: Json = False) -> None:
    """Acknowledge a case: stops the acknowledge clock."""
    _do(case_id, "acknowledge", {}, json_)


@app.command()
def assign(case_id: str, to: Annotated[str, typer.Option(help="E-mail address.")], json_: Json = False) -> None:
    """Give a case to a person."""
    _do(case_id, "assign", {"to": to}, json_)


@app.command()
def resolve(
    case_id: str,
    answer: Annotated[str, typer.Option(help="What we did: the text that the customer gets.")],
    language: Annotated[str | None, typer.Option(help="The answer's language; the customer's where not given.")] = None,
    decline: Annotated[bool, typer.Option("--decline", help="We will not do it: the answer says why not.")] = False,
    json_: Json = False,
) -> None:
    """Resolve (or decline) a case and tell the customer."""
    body = {"answer": answer} | ({"language": language} if language else {})
    _do(case_id, "decline" if decline else "resolve", body, json_)


@app.command()
def reopen(case_id: str, reason: Annotated[str, typer.Option()] = "", json_: Json = False) -> None:
    """Open a finished case again."""
    _do(case_id, "reopen", {"reason": reason} if reason else {}, json_)


def _do(case_id: str, verb: str, body: dict[str, Any], json_: bool) -> None:
    _print_case(client.call("closer", "POST", f"/v1/cases/{case_id}/{verb}", json=body), json_)


def _print_case(found: dict[str, Any], json_: bool) -> None:
    if json_:
        show.as_json(found)
        return
    for name in ("id", "state", "team", "assignee", "priority", "customer", "theme", "opened_at", "answer"):
        if found.get(name) is not None:
            show.say(f"{name:<10} {found[name]}")
    for step in found.get("timeline", []):
        why = show.short(step.get("reason") or step.get("words"), 70)
        show.say(f"  {show.clock(step['at'])}  {step['what']:<22} {step['actor']:<12} {why}".rstrip())


# ── running it ──


@app.command(
    epilog="--config DIR: the four YAML files (without it, the starter's). --data-dir DIR: where everything is kept"
    " (.flywheel). DATABASE_URL and KAFKA_BOOTSTRAP_SERVERS each replace the embedded part, SMTP_URL sends mail."
)
def up(
    host: Annotated[str, typer.Option()] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0: any free one.")] = 8080,
    no_sample: Annotated[bool, typer.Option("--no-sample", help="Begin empty, without the sample feedback.")] = False,
) -> None:
    """Run everything in one process, until Ctrl-C."""
    from services.all import up as run_up

    code = run_up(host=host, port=port, sample=not no_sample)
    if code:
        raise typer.Exit(code)


@app.command()
def init(directory: Path, json_: Json = False) -> None:
    """Write a commented starter configuration into a new or empty folder."""
    from services.cli import operate

    written = operate.write_starter(directory)
    show.as_json({"written": written}) if json_ else show.say("\n".join(written))


@app.command()
def doctor(json_: Json = False) -> None:
    """Check every dependency; say what is wrong and how to mend it."""
    from services.cli import operate

    findings = operate.diagnose()
    if json_:
        show.as_json({"findings": findings})
    else:
        for finding in findings:
            mark = {"ok": "ok  ", "warning": "warn", "failed": "FAIL"}[finding["status"]]
            show.say(f"{mark}  {finding['check']:<14} {finding['message']}")
    if any(finding["status"] == "failed" for finding in findings):
        raise typer.Exit(1)


keys = typer.Typer(help="API keys.", no_args_is_help=True)
app.add_typer(keys, name="keys")


@keys.command("create")
def keys_create(
    scope: Annotated[list[str], typer.Option(help="feedback:write, feedback:read, cases:read, cases:write, admin.")],
    more: Annotated[list[str] | None, typer.Argument(metavar="[SCOPE]...", help="More scopes.")] = None,
    name: Annotated[str, typer.Option(help="Whose or what for: stands as the actor in the timeline.")] = "cli",
    workspace: Annotated[str, typer.Option()] = "default",
    json_: Json = False,
) -> None:
    """Make a key. It is shown once."""
    from services.cli import operate

    scopes = [word for given in [*scope, *(more or [])] for word in given.split(",")]
    key_id, key = operate.create_key(workspace, name, scopes)
    show.as_json({"id": key_id, "key": key, "scopes": scopes}) if json_ else show.say(key)


@keys.command("list")
def keys_list(workspace: Annotated[str, typer.Option()] = "default", json_: Json = False) -> None:
    """The keys there are; never the keys themselves."""
    from services.cli import operate

    found = operate.list_keys(workspace)
    if json_:
        show.as_json({"items": found})
    else:
        columns = ("id", "name", "scopes", "created_at", "revoked_at")
        show.table(columns, [[row[c] if c != "scopes" else " ".join(row[c]) for c in columns] for row in found])


@keys.command("revoke")
def keys_revoke(key_id: str, workspace: Annotated[str, typer.Option()] = "default", json_: Json = False) -> None:
    """Take a key back, at once and everywhere."""
    from services.cli import operate

    operate.revoke_key(workspace, key_id)
    show.as_json({"revoked": key_id}) if json_ else show.say(f"revoked {key_id}")


db = typer.Typer(help="The database.", no_args_is_help=True)
app.add_typer(db, name="db")


@db.command("migrate")
def db_migrate(json_: Json = False) -> None:
    """Bring the schema to the newest version."""
    from services.cli import operate

    before, now = operate.migrate()
    show.as_json({"before": before, "now": now}) if json_ else show.say(f"schema {before or 'empty'} → {now}")


topics = typer.Typer(help="The log's topics.", no_args_is_help=True)
app.add_typer(topics, name="topics")


@topics.command("apply")
def topics_apply(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    json_: Json = False,
) -> None:
    """Make the topics that the configuration needs, and set those that are there as they should be."""
    from services.cli import operate

    created, unlike = operate.apply_topics(dry_run)
    if json_:
        changed = [one._asdict() for one in unlike if one.mendable]
        left = [one._asdict() for one in unlike if not one.mendable]
        show.as_json({"dry_run": dry_run, "created": created, "changed": changed, "left": left})
        return
    for name in created:
        show.say(f"{'would create' if dry_run else 'created'} {name}")
    for one in unlike:
        what = f"{one.topic} {one.setting}: {one.found} → {one.wanted}"
        if one.mendable:
            show.say(f"{'would set' if dry_run else 'set'} {what}")
        else:
            show.say(f"left {what}: a key would move to another partition, and its order with it")
    if not created and not unlike:
        show.say("nothing to do: all topics are there, and as they should be")


dlq = typer.Typer(help="Dead letters: what could not be processed.", no_args_is_help=True)
app.add_typer(dlq, name="dlq")


@dlq.command("list")
def dlq_list(json_: Json = False) -> None:
    """What is in the dead-letter topic, and why."""
    from services.cli import operate

    letters = operate.dead_letters()
    if json_:
        show.as_json({"items": [operate.letter_summary(letter) for letter in letters]})
    else:
        rows = [operate.letter_summary(letter) for letter in letters]
        columns = ("id", "service", "reason", "detail", "attempts", "original_topic", "bytes")
        show.table(columns, [[row[c] for c in columns] for row in rows], empty="no dead letters")


@dlq.command("show")
def dlq_show(letter_id: str, json_: Json = False) -> None:
    """One dead letter with its original bytes."""
    from services.cli import operate

    letter = operate.dead_letter(letter_id)
    if json_:
        show.as_json(operate.letter_whole(letter))
    else:
        for name, value in operate.letter_summary(letter).items():
            show.say(f"{name:<15} {value}")
        for header, raw in letter.headers:
            show.say(f"  {header}: {show.short(raw.decode(errors='replace'), 200)}")
        show.say()
        sys.stdout.flush()
        sys.stdout.buffer.write(letter.value + b"\n")


@dlq.command("redrive")
def dlq_redrive(
    letter_ids: Annotated[list[str] | None, typer.Argument(help="Which; none: all of them.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent again, and send nothing.")] = False,
    json_: Json = False,
) -> None:
    """Send the original bytes again to who could not process them, marked `redrive: n`; no subscriber sees it twice."""
    from services.cli import operate

    sent, left = operate.redrive(letter_ids or [], dry_run)
    if json_:
        show.as_json({"dry_run": dry_run, "redriven": sent, "not_redriven": left})
    else:
        for letter_id in sent:
            show.say(f"{'would send' if dry_run else 'sent'} {letter_id}")
        for letter_id in left:
            show.say(f"left {letter_id}: it came by webhook; have its tool send it again")
        if not sent and not left:
            show.say("no dead letters")
    if letter_ids and left:
        raise typer.Exit(1)
