"""A dirty clinic read into frames, and what its suites make of it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd

from deployments.sandbox.clinic.dirty import Defect
from deployments.sandbox.clinic.generator import ClinicSpec, generate
from deployments.sandbox.clinic.store import write_sqlite
from expectations.gate import Verdict, validate
from expectations.whole import Whole, filled_shares
from tasks.frames import Entity
from tasks.ident.connection import IdentConnection, build_engine
from tasks.ident.reader import IdentReader, Window

TODAY = date(2026, 3, 12)
NOW = datetime(2026, 3, 12, 12, tzinfo=ZoneInfo("Europe/Moscow"))

Frames = dict[Entity, pd.DataFrame]


@dataclass
class Judged:
    """A clinic and what the suites said of it."""

    defects: tuple[Defect, ...]
    frames: Frames
    verdicts: dict[Entity, Verdict] = field(default_factory=dict)
    caught: dict[tuple[str, int], set[str]] = field(default_factory=dict)

    def kept_or_withheld(self) -> set[tuple[str, int]]:
        """Rows of which anything is kept from amoCRM, but for slots without a patient."""
        return {
            (entity.value, key)
            for entity, verdict in self.verdicts.items()
            for key, *_rest in [*verdict.rejects, *verdict.withheld]
        }


def read(
    folder: Path, *, seed: int, dirty: bool, appointments: int = 600
) -> tuple[tuple[Defect, ...], Frames]:
    """Generate a clinic and read all of it."""
    made = generate(ClinicSpec(today=TODAY, appointments=appointments, seed=seed, dirty=dirty))
    file = folder / f"clinic-{seed}-{dirty}.db"
    write_sqlite(made, file)
    connection = IdentConnection(driver="sqlite", database=str(file), timezone="Europe/Moscow")
    reader = IdentReader(build_engine(connection), connection)
    changes = reader.everything(Window(None, None))
    frames = {
        Entity.PATIENT: pd.concat(list(reader.patients(None)), ignore_index=True),
        Entity.APPOINTMENT: pd.concat(list(reader.appointments(changes.appointments)), ignore_index=True),
    }
    reader.close()
    return made.defects, frames


def whole_of(frame: pd.DataFrame) -> Whole:
    """What is known of a table that is as it always was."""
    return Whole(
        rows=len(frame),
        rows_before=len(frame),
        known=len(frame),
        newest_change=NOW.replace(tzinfo=None),
        filled_before=filled_shares(frame),
        is_full=True,
    )


def check(entity: Entity, frame: pd.DataFrame, patients: pd.DataFrame, whole: Whole | None = None) -> Verdict:
    """Run a suite over a frame."""
    references = {"patients": set(patients["patient_id"].tolist())}
    known = whole_of(frame) if whole is None else whole
    return validate(frame, entity, references=references, now=NOW, whole=known)


def judge(folder: Path, seed: int, *, dirty: bool = True) -> Judged:
    """Read a clinic and run both suites."""
    defects, frames = read(folder, seed=seed, dirty=dirty)
    found = Judged(defects, frames)
    caught: dict[tuple[str, int], set[str]] = defaultdict(set)
    for entity, frame in frames.items():
        verdict = check(entity, frame, frames[Entity.PATIENT])
        found.verdicts[entity] = verdict
        for key, code, *_rest in [
            *verdict.rejects,
            *verdict.withheld,
            *verdict.warnings,
            *verdict.skipped,
        ]:
            caught[entity.value, key].add(code)
    found.caught = dict(caught)
    return found


def changed(whole: Whole, **values: object) -> Whole:
    """The same table, but for what is named."""
    return replace(whole, **values)  # type: ignore[arg-type]
