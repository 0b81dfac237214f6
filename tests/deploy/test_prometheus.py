"""deploy/prometheus: the rules hold by promtool, and say for each alert what to do.

Without promtool (Debian: apt-get install prometheus) the tests that need it skip and say so; with `REQUIRE_PROMTOOL=1`,
which CI sets, that is a failure.
"""

import os
import re
import shutil
import subprocess

import pytest

from tests.deploy.expressions import RULES, metrics_named, recorded_named, rules
from tests.deployment import REPOSITORY

PROMETHEUS = RULES.parent
RULES_TEST = PROMETHEUS / "rules_test.yml"
ALERTS = [rule for rule in rules() if "alert" in rule]


def promtool(*arguments: object) -> None:
    found = shutil.which("promtool")
    if found is None:
        reason = "no promtool: `apt-get install prometheus`"
        if os.environ.get("REQUIRE_PROMTOOL"):
            pytest.fail(reason)
        pytest.skip(reason)
    done = subprocess.run(
        [found, *map(str, arguments)], check=False, capture_output=True, text=True, cwd=PROMETHEUS, timeout=170
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_files_are_read() -> None:
    promtool("check", "config", "prometheus.yml")  # and the rules that it names


def test_every_alert_fires_when_it_should_and_sleeps_when_it_should() -> None:
    promtool("test", "rules", RULES_TEST.name)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_every_alert(alert: dict[str, dict[str, str]]) -> None:
    name = str(alert["alert"])
    tested = RULES_TEST.read_text()
    named = re.findall(rf"alertname: {name}(?:, exp_alerts|\n\s+exp_alerts|\}}| \}})", tested)
    assert any("exp_alerts" in one for one in named), "it is never seen to fire"
    assert any("exp_alerts" not in one for one in named), "it is never seen to sleep"
    assert alert["labels"]["severity"] in {"page", "ticket"}
    page, _, anchor = alert["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^#+ (.+)$", (REPOSITORY / page).read_text(), re.MULTILINE)
    assert anchor in {heading.lower().replace(" ", "-") for heading in headings}


def test_what_is_recorded_is_what_is_asked_for() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    asked = set().union(*recorded_named().values())
    assert asked == recorded


def test_every_expression_names_a_metric() -> None:
    """That each of them exists, test_compose asks the running processes."""
    recorded = recorded_named()
    for where, names in metrics_named().items():
        assert names or recorded[where] or where.endswith("FlywheelDown"), where
