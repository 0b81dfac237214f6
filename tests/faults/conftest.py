"""Counters of the faults' tests: said as a test goes, printed as a table when all are through."""

from collections.abc import Callable

import pytest

from tests.conftest import FAULT_ROW

Say = Callable[..., None]
"""(the fault, what was counted by name …)"""


@pytest.fixture
def say(record_property: Callable[[str, object], None]) -> Say:
    """One line, which also stands in the report for machines (`--junitxml`)."""

    def line(fault: str, counts: dict[str, int], **more: object) -> None:
        said = " ".join(f"{name}={value}" for name, value in {**counts, **more}.items())
        record_property(FAULT_ROW, f"{fault}: {said}")

    return line
