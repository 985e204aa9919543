"""Databases that lack something: reading works, the lack is named, and nothing else becomes different."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest

from deployments.sandbox.clinic.generator import ClinicSpec, generate
from deployments.sandbox.clinic.store import write_sqlite
from tasks.errors import SchemaError
from tasks.frames import Entity
from tasks.ident.introspect import introspect, missing_required
from tasks.ident.reader import IdentReader, Watermark, Window
from tasks.ident.schema import OPTIONAL, REQUIRED, TABLES
from tests.support.small_clinic import ClinicFile, SmallClinic, joined, without

TODAY = date(2026, 3, 12)
COLUMNS = [
    (table, column.name)
    for table, found in TABLES.items()
    for column in found.columns
    if column.name not in REQUIRED.get(table, ())
]
NEEDED = [(table, None) for table in REQUIRED] + [
    (table, column) for table in REQUIRED for column in sorted(REQUIRED[table])
]
#: What is derived from several columns, so that the lack of one changes it instead of emptying it.
DERIVED = {
    "status",
    "is_no_show",
    "is_primary",
    "archived",
    "sms_opt_out",
    "visits_completed",
    "visits_total",
    "first_visit_at",
    "last_visit_at",
    "created_at",
    "changed_at",
    "speciality",
}
#: What another source stands in for, where the first is missing.
SECOND_BEST = {
    ("Orders.ID_OwnCompanies", "branch"),
    ("Orders.ID", "branch"),
    ("Orders.ID_Receptions", "branch"),
    ("Orders", "branch"),
    ("OwnCompanies.Name", "branch"),
    ("OwnCompanies.BranchName", "branch"),
    ("OrderServiceRelation.CountService", "services"),  # without "×2"
}
Frames = tuple[pd.DataFrame, pd.DataFrame]


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("generated") / "clinic.sqlite"
    write_sqlite(generate(ClinicSpec(today=TODAY, appointments=60, patients=30)), path)
    return path


def frames(reader: IdentReader) -> tuple[Frames, Watermark]:
    everything = reader.everything(Window())
    patients = joined(Entity.PATIENT, reader.patients())
    return (
        patients,
        joined(Entity.APPOINTMENT, reader.appointments(everything.appointments)),
    ), everything.watermark


@pytest.fixture(scope="module")
def whole(generated: Path, clinic_file: ClinicFile) -> Frames:
    with clinic_file.filled(generated) as clinic:
        found, _ = frames(clinic.reader())
    for frame in found:
        assert frame.notna().any().all(), "a column that is always empty proves nothing"
    return found


@pytest.fixture
def poor(generated: Path, whole: Frames, clinic_file: ClinicFile) -> Iterator[SmallClinic]:
    with clinic_file.filled(generated) as found:
        yield found


def differences(before: pd.DataFrame, after: pd.DataFrame) -> set[str]:
    """Return the columns with values that are there and not what they were."""
    assert before.index.tolist() == after.index.tolist()
    assert before.dtypes.to_dict() == after.dtypes.to_dict()
    old, new = before.to_dict("list"), after.to_dict("list")
    return {
        str(name)
        for name in set(new) - DERIVED
        if any(
            not pd.isna(now) and not _same(then, now) for then, now in zip(old[name], new[name], strict=True)
        )
    }


def _same(then: object, now: object) -> bool:
    return not pd.isna(then) and then == now  # type: ignore[call-overload]


def check_what_is_left(clinic: SmallClinic, whole: Frames, lacking: str) -> None:
    reader = clinic.reader()
    left, mark = frames(reader)
    for before, after in zip(whole, left, strict=True):
        found = {name for name in differences(before, after) if (lacking, name) not in SECOND_BEST}
        assert found == set()
    clinic.now += timedelta(minutes=1)
    assert reader.changes(mark, Window()).dictionaries_changed == ()


@pytest.mark.parametrize("table", sorted(OPTIONAL))
def test_a_table_is_missing(poor: SmallClinic, whole: Frames, table: str) -> None:
    without(Path(poor.connection.database), table)
    (warning,) = introspect(poor.engine).warnings
    assert f" {table};" in warning
    check_what_is_left(poor, whole, table)


@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=[".".join(pair) for pair in COLUMNS])
def test_a_column_is_missing(poor: SmallClinic, whole: Frames, table: str, column: str) -> None:
    without(Path(poor.connection.database), table, column)
    warnings = introspect(poor.engine).warnings
    (warning,) = warnings
    assert f" {table}.{column};" in warning
    assert ("noticed later" in warning) == (column in {"DateTimeChanged", "RowVersion"})
    check_what_is_left(poor, whole, f"{table}.{column}")


@pytest.mark.parametrize(("table", "column"), NEEDED, ids=[f"{a}.{b}" if b else a for a, b in NEEDED])
def test_what_cannot_be_missing(poor: SmallClinic, table: str, column: str | None) -> None:
    without(Path(poor.connection.database), table, column)
    with pytest.raises(SchemaError) as caught:
        missing_required(introspect(poor.engine))
    assert (f"{table}.{column}" if column else table) in caught.value.problem


def test_nothing_optional_at_all(poor: SmallClinic, whole: Frames) -> None:
    path = Path(poor.connection.database)
    for table in OPTIONAL:
        without(path, table)
    for table, column in COLUMNS:
        if table in REQUIRED:
            without(path, table, column)
    catalogue = introspect(poor.engine)
    missing_required(catalogue)
    assert len(catalogue.warnings) >= 2
    check_what_is_left(poor, whole, "")


def test_a_whole_database_has_no_warnings(poor: SmallClinic) -> None:
    catalogue = introspect(poor.engine)
    assert catalogue.warnings == []
    missing_required(catalogue)
    # SQL Server does not tell cases apart.
    assert catalogue.has("RECEPTIONS", "planstart")
    assert not catalogue.has("Receptions", "PlanBegin")
    assert not catalogue.has("Nowhere")
