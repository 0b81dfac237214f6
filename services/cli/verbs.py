"""Every verb, in the order an event meets them: feedback, routing, cases, then what runs and mends the rest.

`operate` brings the services along and is imported by the verbs that need it, so that the others start at once.
"""

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from services.cli import client, show
from shared.errors import Misuse
from shared.people import OPERATOR

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
NOTHING_TO_SAY = "there is nothing to say, but perhaps of the last minute, which is for the next one: no mail"


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


@app.command(
    "import",
    epilog="Run it again after an interruption: it goes on. Refused rows go to FILE.refused.csv (.jsonl): mend them there"
    " and import that file. What is imported is history: counted, with cases, and nobody is mailed.",
)
def import_(
    file: Annotated[Path, typer.Argument(help="A .csv, .tsv, .jsonl or .xlsx.")],
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="MEMBER=COLUMN,…",
            help="Which column is what, where the guess is wrong: text=Comment,score.nps=How likely…,ignore=Phone.",
        ),
    ] = None,
    as_: Annotated[
        str | None,
        typer.Option("--as", metavar="TOOL|none", help="Whose export it is: zendesk, typeform …; by its columns."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and send nothing.")] = False,
    source: Annotated[str | None, typer.Option(help="Where it was said; the file's name.")] = None,
    encoding: Annotated[str | None, typer.Option(help="utf-8, gb18030, shift-jis, utf-16 …")] = None,
    delimiter: Annotated[str | None, typer.Option(help="One character, or comma, semicolon, tab, bar.")] = None,
    sheet: Annotated[str | None, typer.Option(help="Of a workbook: its name or number.")] = None,
    header: Annotated[
        bool | None, typer.Option("--header/--no-header", help="Whether the first row names the columns.")
    ] = None,
    zone: Annotated[str | None, typer.Option(help="Of times that have none: Asia/Shanghai …; UTC.")] = None,
    date_format: Annotated[str | None, typer.Option(help="DMY, MDY, or a pattern: %d/%m/%Y %H:%M.")] = None,
    again: Annotated[bool, typer.Option("--again", help="From the start, though it was imported before.")] = False,
    json_: Json = False,
) -> None:
    """Import a file of feedback: what is in it is recognised, shown, and sent."""
    from services.cli import importing
    from shared.files.look import Options, look

    options = Options(encoding, delimiter, sheet, header, tuple(map_ or ()), source, zone, date_format, tool=as_)
    ranges = importing.known_ranges()
    with look(file, options, ranges) as found:
        if not json_:
            show.looked_at(found)
        summary = importing.rehearsed(found, ranges) if dry_run else importing.sent(found, ranges, again)
        show.as_json(summary) if json_ else show.imported(summary)
    if summary["refused"]:
        raise typer.Exit(1)


@app.command()
def export(
    what: Annotated[str, typer.Argument(help="cases or feedback.")],
    form: Annotated[
        str, typer.Option("--format", help="csv, jsonl or xlsx; by the ending of --out where it has one.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option(help="The file; `-`: stdout. Without it, a name with workspace and time.")
    ] = None,
    team: Annotated[str | None, typer.Option()] = None,
    state: Annotated[str | None, typer.Option(help="Of cases; several with commas.")] = None,
    assignee: Annotated[str | None, typer.Option(help="Of cases.")] = None,
    customer: Annotated[str | None, typer.Option(help="The customer's id as sent.")] = None,
    breached: Annotated[bool | None, typer.Option("--breached/--not-breached", help="Of cases.")] = None,
    source: Annotated[str | None, typer.Option(help="Of feedback.")] = None,
    kind: Annotated[str | None, typer.Option(help="Of feedback: bug, request, complaint …")] = None,
    q: Annotated[str | None, typer.Option(help="Words in the feedback, in any script.")] = None,
    from_: Annotated[str | None, typer.Option("--from", help="RFC 3339, or a day (UTC).")] = None,
    to: Annotated[str | None, typer.Option(help="RFC 3339, or a day (UTC); before it.")] = None,
    json_: Json = False,
) -> None:
    """Write cases or feedback into a file, for a spreadsheet program or another tool."""
    from services.cli import exporting

    wanted = {"team": team, "state": state, "assignee": assignee, "customer": customer, "source": source, "kind": kind}
    wanted |= {"q": q, "from": from_, "to": to, "breached": None if breached is None else str(breached).lower()}
    written = exporting.export(what, form, out, {name: value for name, value in wanted.items() if value is not None})
    if json_ and written["file"] is not None:
        show.as_json(written)
    elif written["file"] is not None:
        show.say(f"{written['file']}  {written['bytes']:,} bytes")


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


sources = typer.Typer(help="The tools that post webhooks here.", no_args_is_help=True)
app.add_typer(sources, name="sources")


@sources.command(
    "try",
    epilog="Exit code 1 when something of it could not be read: it would be kept aside, with its original bytes.",
)
def sources_try(
    name: Annotated[str, typer.Argument(help="As in sources.yaml.")],
    file: Annotated[Path | None, typer.Argument(help="The payload; `-` or nothing: stdin.")] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(help="'Name: value', as it came; then the signature is looked at. May be repeated."),
    ] = None,
    query: Annotated[str, typer.Option(help="What stands behind the ? of the address.")] = "",
    json_: Json = False,
) -> None:
    """What a source would make of a payload: the events as they would be published, or why it would be ignored or could
    not be read. Nothing is stored."""
    from services.cli import trying

    found, looked = trying.attempt(name, file, header or [], query)
    show.as_json(trying.as_data(found, looked)) if json_ else trying.tell(found, looked)
    if trying.failed(found):
        raise typer.Exit(1)


# ── rules and clocks ──

rules = typer.Typer(help="Check, test and question the routing rules.", no_args_is_help=True)
app.add_typer(rules, name="rules")


@rules.command("check")
def rules_check(json_: Json = False) -> None:
    """Load the configuration whole, prove every example, and say what is wrong, with line and column; and which rules are
    never asked."""
    from services.cli import operate, ruling

    ruleset, remarks = ruling.check()
    found = {"version": ruleset.version, "rules": len(ruleset.rules), "examples": ruleset.examples, "remarks": remarks}
    if json_:
        show.as_json(found)
        return
    show.say(
        f"{operate.where()} is good: version {found['version']}, {found['rules']} rules, {found['examples']} examples proved"
    )
    for remark in remarks:
        show.say(f"  {remark}")


@rules.command("test")
def rules_test(json_: Json = False) -> None:
    """Prove the examples of every rule."""
    rules_check(json_)


@rules.command("diff")
def rules_diff(
    old: Annotated[str, typer.Argument(help="A folder, or a version that was in force.")],
    new: Annotated[str, typer.Argument(help="Another.")],
    json_: Json = False,
) -> None:
    """Which rules came, went, changed or moved, in words, and which examples of both would be decided otherwise."""
    from services.cli import ruling

    found = ruling.diff(ruling.named_config(old), ruling.named_config(new))
    show.as_json(found) if json_ else ruling.tell_diff(found)


@rules.command("backtest")
def rules_backtest(
    since: Annotated[str, typer.Option(help="90m, 12h, 7d, or a time with its zone.")] = "7d",
    against: Annotated[
        str | None, typer.Option(help="A folder or a version to compare with, instead of the rules in force.")
    ] = None,
    samples: Annotated[int, typer.Option(min=0, max=1000, help="Show what was said in so many that change.")] = 0,
    json_: Json = False,
) -> None:
    """Decide what came in anew, by the rules in force and by those of --config, and say what would move. Nothing is written."""
    from services.cli import ruling

    found = ruling.backtest(since, against, samples)
    show.as_json(found) if json_ else ruling.tell_backtest(found)


@rules.command("reown")
def rules_reown(
    since: Annotated[str, typer.Option(help="Cases opened since: 90m, 12h, 7d, or a time with its zone.")] = "7d",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go where, and move nothing.")] = False,
    samples: Annotated[int, typer.Option(min=0, max=1000, help="Show what was said in so many that differ.")] = 0,
    undo: Annotated[str | None, typer.Option(metavar="BATCH", help="Take that batch back instead.")] = None,
    json_: Json = False,
) -> None:
    """Give open cases that nobody has taken to whom the rules in force would give them, as one batch that can be taken back.
    What a person gave to a team stays there."""
    from services.cli import reowning

    if undo is not None:
        found = reowning.undo(quote(undo, safe=""))
        show.as_json(found) if json_ else reowning.tell_undone(found)
        return
    found = reowning.reown(since, dry_run, samples)
    show.as_json(found) if json_ else reowning.tell(found)


@rules.command("history")
def rules_history(limit: Annotated[int, typer.Option(min=1, max=1000)] = 20, json_: Json = False) -> None:
    """Which versions were in force since when, by whom and why, and what each changed of the rules."""
    from services.cli import ruling

    found = ruling.history(limit)
    show.as_json(found) if json_ else ruling.tell_history(found)


@rules.command("rollback")
def rules_rollback(
    version: Annotated[str | None, typer.Argument(help="Whose rules; without one, the last that were others.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why, for the history.")] = None,
    author: Annotated[str | None, typer.Option(help="Who; without it, whoever is logged in here.")] = None,
    json_: Json = False,
) -> None:
    """Put the rules of an earlier version in force again; teams, clocks and sources stay as they are. A routing.yaml that still
    stands in the service's folder does not come back by itself: only once it is changed."""
    from services.cli import ruling

    found = ruling.roll_back(version, author, reason)
    show.as_json(found) if json_ else show.say(
        f"version {found['version']} is in force, with the rules of {found['rolled_back_to']}"
    )


@rules.command(
    "shadow",
    epilog="Once adopted, the rules before stay back even where a folder still holds them, and `rules rollback` brings them back.",
)
def rules_shadow(
    file: Annotated[Path | None, typer.Argument(help="A routing.yaml, or a folder with one: start it.")] = None,
    stop: Annotated[bool, typer.Option("--stop", help="End it; what was found stays to be looked at.")] = False,
    adopt: Annotated[bool, typer.Option("--adopt", help="Put it in force.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why; with FILE, and for the history with --adopt.")] = None,
    author: Annotated[str | None, typer.Option(help="Who; without it, whoever is logged in here.")] = None,
    samples: Annotated[int, typer.Option(min=0, max=200, help="Show what was said in so many that differ.")] = 0,
    json_: Json = False,
) -> None:
    """Let other rules run beside those in force, and see what they would have decided otherwise. They change nothing until
    they are adopted. Without anything: how it stands."""
    from services.cli import ruling

    if (file is not None) + stop + adopt > 1:
        raise Misuse("give one of FILE, --stop and --adopt")
    if file is not None:
        found = ruling.start_shadow(file, author, reason)
        told = (
            f"rules {found['rules']} run as a shadow beside version {found['beside']}: `flywheel rules shadow` compares"
        )
    elif stop:
        found = ruling.stop_shadow()
        told = "no rules run as a shadow any more"
    elif adopt:
        found = ruling.adopt_shadow(author, reason)
        told = f"version {found['version']} is in force, with the rules {found['rules']}"
    else:
        if reason is not None or author is not None:
            raise Misuse("--reason and --author belong to FILE or --adopt")
        found = ruling.shadow(samples)
        show.as_json(found) if json_ else ruling.tell_shadow(found)
        return
    show.as_json(found) if json_ else show.say(told)


@rules.command("explain")
def rules_explain(
    text: Annotated[str | None, typer.Option(help="One text.")] = None,
    from_: Annotated[Path | None, typer.Option("--from", help="A JSONL file of feedback, one object a line.")] = None,
    model: Annotated[
        Path | None, typer.Option(help="A learnt model to judge by, as `learn train --out` wrote it.")
    ] = None,
    json_: Json = False,
) -> None:
    """What would be decided, and why. Nothing is stored. A line that would not be taken as feedback is named, and the
    others are explained."""
    from services.cli import judging

    if (text is None) == (from_ is None):
        raise Misuse("give --text or --from FILE.jsonl")
    if text is not None and not text.strip():
        raise Misuse("--text has nothing to read")
    explainer = judging.explainer(model)
    wrong: list[str] = []

    def say_wrong(what: str) -> None:
        wrong.append(what)
        show.warn(what)

    bodies = (
        judging.feedback_lines(from_, explainer.body, say_wrong)
        if from_ is not None
        else iter([explainer.text(text or "")])
    )
    for decision in explainer.explained(bodies):
        if json_:
            show.as_lines([decision])
        else:
            show.decision(decision)
    if wrong:
        raise typer.Exit(1)


learn = typer.Typer(help="Learn from what people decided.", no_args_is_help=True)
app.add_typer(learn, name="learn")


@learn.command("train")
def learn_train(
    from_: Annotated[
        Path, typer.Option("--from", help="A JSONL file: `text` with any of team, kind, sentiment, priority, tags.")
    ],
    out: Annotated[Path | None, typer.Option(help="Where to keep the model; the data folder.")] = None,
    json_: Json = False,
) -> None:
    """Make a model of examples. A line that cannot be learnt from is named, and the others are learnt."""
    from services.cli import judging

    wrong: list[str] = []

    def say_wrong(what: str) -> None:
        wrong.append(what)
        show.warn(what)

    found = judging.trained(from_, out, say_wrong)
    if json_:
        show.as_json(found)
    else:
        show.learnt(found)
    if wrong:
        raise typer.Exit(1)


@learn.command("status")
def learn_status(json_: Json = False) -> None:
    """Which model judges, which others are kept and what they were learnt from, and what became of the last corrections."""
    from services.cli import judging

    found = judging.models()
    show.as_json(found) if json_ else show.models(found)


@learn.command("correct")
def learn_correct(
    feedback_id: Annotated[str, typer.Argument(metavar="ID", help="The feedback's id.")],
    team: Annotated[str | None, typer.Option(help="Whose it is; its unfinished case goes there.")] = None,
    kind: Annotated[
        str | None, typer.Option(help="bug, request, complaint, comment, praise, question or noise.")
    ] = None,
    sentiment: Annotated[str | None, typer.Option(help="positive, neutral or negative.")] = None,
    priority: Annotated[str | None, typer.Option(help="urgent, high, normal or low.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="May be repeated.")] = None,
    json_: Json = False,
) -> None:
    """Say what would have been right of feedback that was judged wrongly: the router learns from it."""
    given = {"team": team, "kind": kind, "sentiment": sentiment, "priority": priority, "tags": tag or None}
    said = {name: value for name, value in given.items() if value is not None}
    path = f"/v1/feedback/{quote(feedback_id, safe='')}/correction"
    found = client.call("closer", "POST", path, content=json.dumps(said).encode())
    show.as_json(found) if json_ else show.say(f"corrected: {', '.join(found['said'])}")


@learn.command("promote")
def learn_promote(
    version: Annotated[str, typer.Argument(help="A model that `learn status` lists, or how its version begins.")],
    json_: Json = False,
) -> None:
    """Take a model into use, whatever it was compared with."""
    from services.cli import judging

    found = judging.promoted(version)
    show.as_json(found) if json_ else show.say(f"in force: model {found['in_force']}")


@learn.command("rollback")
def learn_rollback(json_: Json = False) -> None:
    """Take back the model in force: the one before judges again, or the lexicons."""
    from services.cli import judging

    found = judging.model_rolled_back()
    version = f"model {found['in_force']}" if found["in_force"] else "the lexicons alone"
    show.as_json(found) if json_ else show.say(f"in force: {version}")


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


# ── accounts ──

accounts = typer.Typer(help="The companies whose people speak: list them, or bring them from a file.")
app.add_typer(accounts, name="accounts")


@accounts.callback(invoke_without_command=True)
def list_accounts(
    context: typer.Context,
    q: Annotated[str | None, typer.Option(help="A part of the name or the id.")] = None,
    order: Annotated[str, typer.Option(help="id, or renewal: the next one first.")] = "id",
    cursor: Annotated[str | None, typer.Option(help="next_cursor of the page before.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    json_: Json = False,
) -> None:
    """List accounts."""
    if context.invoked_subcommand is not None:
        return
    from services.cli import accounts as shown

    page = client.page("closer", "/v1/accounts", {"q": q, "order": order, "cursor": cursor, "limit": limit})
    show.as_json(page) if json_ else shown.listed(page)


@accounts.command("import", epilog="Each account is replaced whole. The same file sent again changes nothing.")
def accounts_import(
    file: Annotated[Path, typer.Argument(help="A .csv, .tsv or .xlsx with a header.")],
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="MEMBER=COLUMN,…", help="Where the guess is wrong: id=CRM key,revenue=ARR."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and send nothing.")] = False,
    encoding: Annotated[str | None, typer.Option(help="utf-8, gb18030, utf-16 …")] = None,
    delimiter: Annotated[str | None, typer.Option(help="One character, or comma, semicolon, tab, bar.")] = None,
    sheet: Annotated[str | None, typer.Option(help="Of a workbook: its name or number.")] = None,
    date_format: Annotated[str | None, typer.Option(help="DMY, MDY, or a pattern: %d/%m/%Y.")] = None,
    currency: Annotated[str | None, typer.Option(help="Of amounts without one: EUR, CNY …")] = None,
    json_: Json = False,
) -> None:
    """Import a file of accounts: which column is what is recognised, shown, and sent."""
    from services.cli import accounts as importing

    given = importing.Options(tuple(map_ or ()), encoding, delimiter, sheet, date_format, currency)
    table = importing.look(file, given)
    with contextlib.closing(table.rows):
        if not json_:
            importing.looked_at(table)
        summary = importing.imported(table, dry_run)
    show.as_json(summary) if json_ else importing.said(summary)
    if summary["refused"]:
        raise typer.Exit(1)


@app.command()
def account(account_id: str, json_: Json = False) -> None:
    """One account."""
    from services.cli import accounts as shown

    found = client.call("closer", "GET", f"/v1/accounts/{quote(account_id)}")
    show.as_json(found) if json_ else shown.one(found)


# ── cases ──


@app.command()
def cases(
    team: Annotated[str | None, typer.Option()] = None,
    state: Annotated[str | None, typer.Option()] = None,
    assignee: Annotated[str | None, typer.Option()] = None,
    customer: Annotated[str | None, typer.Option(help="The customer's id as sent.")] = None,
    breached: Annotated[bool | None, typer.Option("--breached/--not-breached")] = None,
    held: Annotated[bool | None, typer.Option("--held/--not-held", help="Held back by a rule for now.")] = None,
    q: Annotated[str | None, typer.Option(help="Words in the feedback, in any script.")] = None,
    cursor: Annotated[str | None, typer.Option(help="next_cursor of the page before.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    json_: Json = False,
) -> None:
    """List cases."""
    wanted = {"team": team, "state": state, "assignee": assignee, "customer": customer, "q": q, "cursor": cursor}
    flags = {"breached": breached, "held": held}
    said = {name: str(flag).lower() for name, flag in flags.items() if flag is not None}
    page = client.page("closer", "/v1/cases", {**wanted, **said, "limit": limit})
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


@app.command(
    epilog="What is on the topics ages out by the times that are shown; mails that were sent are beyond reach. To run it again"
    " is no error. It wants a key with the scope admin."
)
def erase(
    customer: Annotated[str, typer.Argument(help="The customer's id as sent, or their e-mail address.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would go, and leave everything as it is.")
    ] = False,
    json_: Json = False,
) -> None:
    """Erase a customer: words, names and addresses go, counts stay, and what is sent again does not bring them back."""
    from services.cli import erasing

    done = erasing.erase(customer, dry_run)
    show.as_json(done) if json_ else erasing.said(done)


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
    page = client.page("closer", "/v1/notifications", {"status": status, "cursor": cursor, "limit": limit})
    if json_:
        show.as_json(page)
        return
    columns = ("case_id", "kind", "channel", "status", "reason", "created_at", "attempts")
    show.table(columns, [[row[c] for c in columns] for row in page["items"]], empty="no such notification")
    if page["next_cursor"]:
        show.say(f"more: --cursor {page['next_cursor']}")


@app.command("signals")
def signals_(
    signal_id: Annotated[str | None, typer.Argument(help="One of them, with what it is made of.")] = None,
    team: Annotated[str | None, typer.Option(help="Whose they are, or who watches them.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Those that have passed too.")] = False,
    cursor: Annotated[str | None, typer.Option(help="next_cursor of the page before.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    json_: Json = False,
) -> None:
    """What came too often, or much more than usual (`signals:` in routing.yaml): those that are up."""
    from services.cli import signals

    signals.listed(team, every, cursor, limit, json_) if signal_id is None else signals.shown(signal_id, json_)


deliveries = typer.Typer(help="What teams' subscriptions were told.", invoke_without_command=True)
app.add_typer(deliveries, name="deliveries")


@deliveries.callback()
def deliveries_list(
    context: typer.Context,
    team: Annotated[str | None, typer.Option()] = None,
    status: Annotated[str | None, typer.Option(help="pending, sending, sent, withheld, or failed: given up.")] = None,
    cursor: Annotated[str | None, typer.Option(help="next_cursor of the page before.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    json_: Json = False,
) -> None:
    """List what teams' subscriptions (webhook, Slack) were told, and what became of it."""
    if context.invoked_subcommand is not None:
        return
    page = client.page("closer", "/v1/deliveries", {"team": team, "status": status, "cursor": cursor, "limit": limit})
    if json_:
        show.as_json(page)
        return
    columns = ("id", "team", "destination", "event", "status", "tries", "reason")
    rows = [
        (d["id"], d["team"], d["destination"], d["event"], d["status"], d["attempts"], show.short(d["reason"], 48))
        for d in page["items"]
    ]
    show.table(columns, rows, empty="no such delivery")
    if page["next_cursor"]:
        show.say(f"more: --cursor {page['next_cursor']}")


@deliveries.command("redrive")
def deliveries_redrive(
    ids: Annotated[list[str] | None, typer.Argument(help="Which; none: all that were given up.")] = None,
    team: Annotated[str | None, typer.Option(help="All of this team's that were given up.")] = None,
    json_: Json = False,
) -> None:
    """Send again what was given up, under the same ids, so that a receiver who has it already can tell."""
    if ids and team:
        raise Misuse("give ids, or --team, or neither")
    body = {"ids": ids} if ids else {"team": team} if team else {}
    redriven: list[str] = []
    while True:
        answer = client.call("closer", "POST", "/v1/deliveries/redrive", json=body)
        redriven += answer["redriven"]
        if not answer["more"]:
            break
    if json_:
        show.as_json({"redriven": redriven, "left": answer["left"]})
    else:
        show.say(f"{len(redriven)} to be sent again")
        for one in answer["left"]:
            show.say(f"left {one}: there is none, or it is waiting already")
    if answer["left"]:
        raise typer.Exit(1)


@deliveries.command("digest")
def deliveries_digest(
    team: Annotated[str, typer.Argument(help="Whose.")],
    send: Annotated[bool, typer.Option("--send", help="Send it now. The next period begins here.")] = False,
    json_: Json = False,
) -> None:
    """Show the e-mail digest that would go to a team now (`subscribe:` in teams.yaml, `channel: email`)."""
    if send:
        answer = client.call("closer", "POST", "/v1/deliveries/digests/send", json={"team": team})
        show.as_json(answer) if json_ else show.say(
            f"{answer['owed']} to be sent" if answer["owed"] else NOTHING_TO_SAY
        )
        return
    answer = client.call("closer", "GET", "/v1/deliveries/digests", params={"team": team})
    if json_:
        show.as_json(answer)
        return
    for one in answer["items"]:
        show.say(f"{one['subscription']}: to {', '.join(one['readers'])}; next at {one['next_at'] or 'no time'}")
        show.say(f"\n{one['mail']['subject']}\n\n{one['mail']['text']}" if one["mail"] else NOTHING_TO_SAY)


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
    if found.get("held_until") is not None:
        show.say(f"held until {found['held_until']}: {found['held_because']}")
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
def login(
    as_: Annotated[str | None, typer.Option("--as", help="E-mail address of somebody in teams.yaml.")] = None,
    json_: Json = False,
) -> None:
    """Make a one-time link to the console: yours as the operator, or a colleague's."""
    from services.cli import operate

    address = os.environ.get("PUBLIC_URL") or client.base_url("console")  # a link is for outside, base_url perhaps not
    url = f"{address.rstrip('/')}/login?token={operate.login_link(as_)}"
    show.as_json({"url": url, "person": as_ or OPERATOR}) if json_ else show.say(url)


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
        show.as_json({"items": letters})
    else:
        columns = ("id", "at", "service", "reason", "detail", "attempts", "original_topic", "bytes")
        show.table(columns, [[row[c] for c in columns] for row in letters], empty="no dead letters")


@dlq.command("show")
def dlq_show(letter_id: str, json_: Json = False) -> None:
    """One dead letter with its original bytes."""
    from services.cli import operate

    kept = operate.dead_letter(letter_id)
    if json_:
        show.as_json(operate.letter_whole(kept))
    else:
        for name, value in operate.letter_summary(kept).items():
            show.say(f"{name:<15} {value}")
        for header, raw in kept.letter.headers:
            show.say(f"  {header}: {show.short(raw.decode(errors='replace'), 200)}")
        show.say()
        sys.stdout.flush()
        sys.stdout.buffer.write(kept.letter.value + b"\n")


@dlq.command("redrive")
def dlq_redrive(
    letter_ids: Annotated[list[str] | None, typer.Argument(help="Which; none: all of them.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent again, and send nothing.")] = False,
    json_: Json = False,
) -> None:
    """Send the original bytes again to who could not process them, marked `redrive: n`; no subscriber sees it twice.

    What came by webhook is read again by ingest, as its source stands in sources.yaml now."""
    from services.cli import operate

    done = operate.redrive(letter_ids or [], dry_run)
    left = [one.id for one in done if one.topic is None]
    if json_:
        sent = [one.id for one in done if one.topic is not None]
        show.as_json({"dry_run": dry_run, "redriven": sent, "not_redriven": left})
    else:
        for one in done:
            if one.topic is None:
                show.say(f"left {one.id}: {one.why_not}")
            else:
                show.say(f"would send {one.id} to {one.topic}" if dry_run else f"sent {one.id}")
        if not done:
            show.say("no dead letters")
    if letter_ids and left:
        raise typer.Exit(1)
