"""deploy/grafana: what is committed is what the code says, and Prometheus understands each question."""

import json
import subprocess
import sys
from pathlib import Path

import yaml

from tests.deploy.expressions import DASHBOARD, expressions
from tests.deploy.test_prometheus import promtool


def test_what_is_committed_is_what_the_code_says() -> None:
    written = subprocess.run(
        [sys.executable, str(DASHBOARD.with_name("dashboard.py"))], check=True, capture_output=True, text=True
    )
    how = "python deploy/grafana/dashboard.py > deploy/grafana/dashboard.json"
    assert written.stdout == DASHBOARD.read_text(), how


def test_no_two_panels_share_a_place_or_a_number() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in panels):
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_every_question_can_be_read(tmp_path: Path) -> None:
    """As rules, since those promtool reads; Grafana fills in its interval."""
    asked = [
        expression.replace("$__rate_interval", "1m") for where, expression in expressions() if "dashboard" in where
    ]
    rules = [{"record": f"asked:{number}", "expr": expression} for number, expression in enumerate(asked)]
    file = tmp_path / "asked.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", file)
