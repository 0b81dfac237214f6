"""One `flywheel up` for all of it: what one row does to the process, the next one would feel."""

from collections.abc import Iterator

import pytest

from tests.promises.site import Site, deployed


@pytest.fixture(scope="package")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with deployed(tmp_path_factory.mktemp("promises")) as deployment:
        site = Site(deployment)
        yield site
        site.nobody.close()


@pytest.fixture
def site(running: Site) -> Iterator[Site]:
    """It lives and answers after each test."""
    yield running
    assert running.alive
    assert running.http.get("/healthz").json() == {"status": "ok"}
    assert running.http.get("/readyz").status_code == 200
