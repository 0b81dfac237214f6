"""Measures over what the closer itself has written: a told customer who says no was told all the same."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from services.console.figures import figures, to_json
from services.console.queries import Queries
from services.console.render import words
from shared.database import Database
from tests.closer.served import Served, served
from tests.closer.test_page import answered, routed_back, say
from tests.closer.world import World


@pytest.fixture
async def page(database_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    async with World.open(database_url) as world, served(world, database_url, tmp_path) as made:
        yield made


async def measured(url: str) -> dict[str, Any]:
    database = Database(url)
    try:
        (row,) = await Queries(database).measures(
            "default", datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC), None
        )
    finally:
        await database.close()
    found = {name: to_json(figure, words("en")) for name, figure in figures(row, {}).items()}
    for name, one in found.items():
        if "numerator" in one:
            assert one["numerator"] <= one["denominator"], f"{name}: {one}"
    return found


async def test_who_says_no_was_told_and_a_reopened_case_is_confirmed_by_nobody(page: Served, database_url: str) -> None:
    yes = [await answered(page, customer={"id": f"y-{n}", "email": f"y{n}@example.com"}) for n in range(2)]
    no = [await answered(page, customer={"id": f"n-{n}", "email": f"n{n}@example.com"}) for n in range(2)]
    for _, token in yes:
        await say(page, token, "yes")
    for _, token in no:
        await say(page, token, "no", "Not at all.")
    await routed_back(page)
    found = await measured(database_url)
    assert (found["confirmed_rate"]["numerator"], found["confirmed_rate"]["denominator"]) == (2, 4)
    assert (found["response_rate"]["numerator"], found["response_rate"]["denominator"]) == (4, 4)
    assert (found["closed_loop_rate"]["numerator"], found["closed_loop_rate"]["denominator"]) == (4, 4)
    case = yes[0][0]
    assert (await page.post(f"/v1/cases/{case}/reopen", {"reason": "it came back"})).status_code == 200
    assert (await page.get(f"/v1/cases/{case}")).json()["confirmed_at"] is None
    found = await measured(database_url)
    assert (found["confirmed_rate"]["numerator"], found["confirmed_rate"]["denominator"]) == (1, 4)
    assert found["time_to_tell_customer_s"]["p50"] > 0, "from when it was received"
