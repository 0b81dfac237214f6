"""Row 83: OpenAPI in, thousands of requests out, by schemathesis: values that fit it, values that do not, and none of them
may be answered 5xx, nor by a status, a type or a body that the document does not name.

`make fuzz` starts `flywheel up` for itself and takes its time; the suite runs a short form (`test_fuzz`).
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.promises.site import Site, deployed
from tests.promises.table import feedback

CASES = 20_000
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "ignored_auth",
)
HOOKS = Path(__file__).with_name("fuzz_hooks.py")
OPENED = 6
DRAWN_TWICE = 1.1
"""What was drawn before is not sent again, and an operation without a parameter has little to draw."""
ANSWER_S = 30.0
EVENT_STREAM = "text/event-stream"
STREAM_EVENTS, STREAM_S, STREAMS_MAX = 3, 2.0, 50
"""What is read of a stream, how long at most, and how often one is opened."""


@dataclass(frozen=True, slots=True)
class Fuzzed:
    cases: int
    operations: int
    failures: Sequence[Mapping[str, Any]]
    said: str


def fuzz(site: Site, directory: Path, *, cases: int, seed: int | None = None) -> Fuzzed:
    """At least so many requests, spread over every operation."""
    paths = site.openapi()["paths"]
    streams = [path for path, operations in paths.items() if EVENT_STREAM in json.dumps(operations)]
    each = math.ceil(cases * DRAWN_TWICE / (sum(map(len, paths.values())) - len(streams)))
    settings = directory / "schemathesis.toml"
    settings.write_text(_settings(_known(site), each, streams), encoding="utf-8")
    report = directory / "report.json"
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(settings), "run", f"{site.url}/openapi.json"),
        *("--header", f"Authorization: Bearer {site.deployment.api_key}", "--checks", ",".join(CHECKS)),
        *("--phases", "examples,fuzzing" if cases < CASES else "examples,coverage,fuzzing"),
        *("--report", "json", "--report-json-path", str(report), "--generation-database", "none", "--no-color"),
        *("--suppress-health-check", "all", "--continue-on-failure", "--warnings", "off"),
        *(() if seed is None else ("--seed", str(seed))),
    ]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if not report.exists():
        raise AssertionError(done.stdout[-5000:] + done.stderr[-5000:])
    told = json.loads(report.read_text("utf-8"))
    return Fuzzed(
        told["test_cases"]["generated"],
        told["operations"]["tested"],
        [*told["failures"], *told["errors"]],
        done.stdout,
    )


def _known(site: Site) -> dict[str, list[str]]:
    """What there is to be found, by the name of the parameter: a made-up id gets no further than 404."""
    deliveries = [
        site.http.post(
            "/v1/feedback", json=feedback(text=f"Refund {n} has not come", customer={"id": f"fuzz-{n}"})
        ).json()["id"]
        for n in range(OPENED)
    ]
    return {
        "case_id": [site.traced(one)["case"]["id"] for one in deliveries],
        "feedback_id": deliveries,
        "form": ["csv", "jsonl", "xlsx"],
        "source": ["open", "partner"],
        "team": ["support"],
        "channel": ["slack"],
    }


def _settings(known: Mapping[str, Sequence[str]], each: int, streams: Sequence[str]) -> str:
    """Seven of ten find something; the others are whatever comes to its mind. A stream on which nothing happens is read until
    its time is over, so it has little of it."""
    dictionaries = (f"[dictionaries.{name}]\nvalues = {json.dumps(values)}\n" for name, values in known.items())
    parameters = (f'"path.{name}" = {{dictionary = "{name}", probability = 0.7}}\n' for name in known)
    operations = (
        f'[[operations]]\ninclude-path = "{path}"\nrequest-timeout = {STREAM_S}\n'
        f"generation.max-examples = {min(each, STREAMS_MAX)}\n"
        for path in streams
    )
    root = f'hooks = "{HOOKS}"\nmax-stream-events = {STREAM_EVENTS}\nrequest-timeout = {ANSWER_S}\n'
    generation = f"[generation]\nmax-examples = {each}\n"
    return "".join([root, generation, *dictionaries, "[parameters]\n", *parameters, *operations])


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz every operation that OpenAPI names.")
    parser.add_argument("--cases", type=int, default=CASES)
    parser.add_argument("--seed", type=int)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        with deployed(directory) as deployment:
            found = fuzz(Site(deployment), directory, cases=options.cases, seed=options.seed)
    print(found.said)
    print(f"{found.cases:,} requests to {found.operations} operations, {len(found.failures)} kinds of failure")
    return 1 if found.failures or found.cases < options.cases else 0


if __name__ == "__main__":
    sys.exit(main())
