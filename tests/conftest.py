from __future__ import annotations

from collections.abc import Sequence

import pytest

#: A fixture of several files that takes minutes to bring up; all others are brought up once a file.
SHARED = "journey"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Keep what shares a fixture in one process when the tests run in several (``--dist loadgroup``)."""
    for item in items:
        group = SHARED if SHARED in getattr(item, "fixturenames", ()) else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
