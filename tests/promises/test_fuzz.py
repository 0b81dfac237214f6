"""83. The short form of `make fuzz`."""

from pathlib import Path

import pytest

from tests.promises.fuzzing import fuzz
from tests.promises.site import Site

CASES = 200


@pytest.mark.timeout(600)
def test_83_no_request_made_from_openapi_is_answered_5xx_or_by_what_it_does_not_name(
    site: Site, tmp_path: Path
) -> None:
    found = fuzz(site, tmp_path, cases=CASES)
    assert found.failures == [], found.said
    assert found.cases >= CASES
