"""A console of one's own for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.console.site import Console, console


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Console]:
    async with console(database_url, tmp_path) as made:
        yield made
