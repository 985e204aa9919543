"""Nothing of a person in what an installation keeps, nor in what its processes said."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

from tests.e2e.traces import Traces
from tests.faults.child import TIMEZONE
from tests.faults.world import World

__all__ = ["leaks"]


def leaks(world: World) -> list[str]:
    """Tell what the home folder and the logs and errors of all runs give away; kind and person only."""
    persons = [{**row, "Birthday": row["Birthday"]} for row in world.clinic.rows("Persons")]
    traces = Traces.of(persons, ZoneInfo(TIMEZONE))
    found = {
        f"{path.name}: {trace}" for path in _files(world.folder / "home") for trace in traces.in_file(path)
    }
    found |= {f"log: {trace}" for text in _texts(world) for trace in traces.in_bytes(text.encode())}
    return sorted(found)


def _files(home: Path) -> Iterator[Path]:
    yield from (path for path in home.rglob("*") if path.is_file())


def _texts(world: World) -> Iterable[str]:
    return [*world.said, *world.problems, *world.diary]
