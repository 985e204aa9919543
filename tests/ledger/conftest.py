from __future__ import annotations

from collections.abc import Iterator

import pytest

from deployments.sandbox.postgresql import programs, serve


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """A server of its own on a socket, where its programs and a driver are installed."""
    pytest.importorskip("psycopg", reason="no psycopg here: pip install -e '.[dev]'")
    place = programs()
    if place is None:
        pytest.skip("no PostgreSQL server here: make postgresql")
    with serve(place) as url:
        yield url
