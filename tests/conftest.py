from __future__ import annotations

import pytest

#: A fixture of several files that takes minutes to bring up; all others are brought up once a file.
SHARED = "journey"


def pytest_itemcollected(item: pytest.Item) -> None:
    """Keep what shares a fixture in one process when the tests run in several (``--dist loadgroup``).

    Not in ``pytest_collection_modifyitems``: xdist's own one has read the groups by then.
    """
    group = SHARED if SHARED in getattr(item, "fixturenames", ()) else str(item.path)
    item.add_marker(pytest.mark.xdist_group(group))
