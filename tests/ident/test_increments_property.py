"""Whatever is edited: an increment names every row whose canonical form became another."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.frames import Entity
from tasks.ident.marks import Watermark, Window
from tasks.ident.reader import IdentReader
from tests.support.small_clinic import NOW, ClinicFile, SmallClinic, joined

Edit = Callable[[SmallClinic], Any]
Frames = dict[Entity, pd.DataFrame]

moments = st.sampled_from(
    [None, datetime(1900, 1, 1), datetime(2026, 2, 1, 9), NOW, datetime(2026, 3, 28, 15)]
)
texts = st.sampled_from([None, "", "новое", "89031112299"])
patients = st.sampled_from([11, 12, 13, 14])
receptions = st.integers(101, 106)
#: What IDENT's programs fill in, and with what. Which appointment was primary is frozen when its deal is made,
#: and a reception that goes to another patient leaves no trace at the one before: both are left out here.
FIELDS: dict[str, tuple[st.SearchStrategy[int], dict[str, st.SearchStrategy[Any]]]] = {
    "Receptions": (
        receptions,
        {
            **dict.fromkeys(
                ("PlanStart", "PlanEnd", "PatientAppeared", "ReceptionStarted", "ReceptionEnded"), moments
            ),
            **dict.fromkeys(("CheckIssued", "ReceptionCanceled"), moments),
            "ID_ReceptionCancelReasons": st.sampled_from([None, 1, 8]),
            "ID_StaffsReceptionCanceled": st.sampled_from([None, 1]),
            "ID_ReceptionsTransferFrom": st.one_of(st.none(), receptions),
            "ID_Staffs": st.sampled_from([None, 1, 2]),
            "ID_Armchairs": st.sampled_from([None, 1, 2]),
            "Comment": texts,
        },
    ),
    "Patients": (
        patients,
        {
            "CardNumber": texts,
            "ID_InfoSources": st.sampled_from([None, 1, 2]),
            "ID_ArchivingReasons": st.sampled_from([None, 1]),
            "SMSRejection": st.sampled_from([None, True, False]),
        },
    ),
    "Persons": (
        st.sampled_from([1, 2, 11, 12, 13, 14]),
        {
            "Surname": texts,
            "MobilePhone": texts,
            "Birthday": st.sampled_from([None, datetime(1980, 5, 5).date()]),
        },
    ),
    "Orders": (st.sampled_from([201, 202]), {"ID_OwnCompanies": st.sampled_from([None, 1, 2])}),
    "OrderServiceRelation": (
        st.integers(301, 303),
        {"CountService": st.integers(1, 3), "DiscountSum": st.sampled_from([None, Decimal(5)])},
    ),
}
#: Small tables without a stamp.
NAMES = {
    "InfoSources": "Name",
    "ArchivingReasons": "Name",
    "ReceptionCancelReasons": "Name",
    "AppointmentSources": "Name",
    "ProfessionNames": "NameProfession",
    "OwnCompanies": "BranchName",
    "Armchairs": "NameArmchair",
}


@st.composite
def changed_rows(draw: st.DrawFn) -> Edit:
    table = draw(st.sampled_from(sorted(FIELDS)))
    keys, columns = FIELDS[table]
    key, column = draw(keys), draw(st.sampled_from(sorted(columns)))
    value, late = draw(columns[column]), timedelta(minutes=draw(st.integers(0, 14)))
    return lambda clinic: clinic.change(table, key, **{column: value, "DateTimeChanged": clinic.now - late})


@st.composite
def new_names(draw: st.DrawFn) -> Edit:
    table = draw(st.sampled_from(sorted(NAMES)))
    name = draw(texts)
    return lambda clinic: clinic.store.update(table, {"ID": 1}, {NAMES[table]: name})


@st.composite
def new_receptions(draw: st.DrawFn) -> Edit:
    patient, start, source = draw(patients), draw(moments), draw(st.one_of(st.none(), receptions))
    done = draw(moments)
    return lambda clinic: clinic.add(
        "Receptions",
        ID_Patients=patient,
        PlanStart=start,
        ReceptionEnded=done,
        ID_ReceptionsTransferFrom=source,
    )


@st.composite
def new_orders(draw: st.DrawFn) -> Edit:
    reception, named = draw(st.sampled_from([101, 102, 103, 104, 105])), draw(st.booleans())
    owner = {101: 11, 102: 11, 103: 12, 104: 12, 105: 13}[reception]
    debt = draw(st.sampled_from([None, Decimal(), Decimal(300)]))

    def edit(clinic: SmallClinic) -> None:
        order = clinic.add("Orders", ID_Receptions=reception, ID_Patients=owner if named else None)
        clinic.add("OrderServiceRelation", ID_Orders=order, ID_ServicePrices=2, CountService=1)
        if debt is not None:
            clinic.add(
                "OrderPaymentsJournal",
                ID_Orders=order,
                ID_Patients=owner,
                AmountWithDiscount=Decimal("3000.5"),
                Debt=debt,
            )

    return edit


@st.composite
def payments(draw: st.DrawFn) -> Edit:
    order, debt = draw(st.sampled_from([201, 202])), Decimal(draw(st.integers(0, 500)))

    def edit(clinic: SmallClinic) -> None:
        clinic.add("PaymentsIn", ID_Patients={201: 11, 202: 13}[order], Payment=debt)
        clinic.store.update("OrderPaymentsJournal", {"ID_Orders": order}, {"Debt": debt})

    return edit


edits = st.one_of(changed_rows(), changed_rows(), new_names(), new_receptions(), new_orders(), payments())
windows = st.sampled_from(
    [Window(), Window(start=NOW), Window(end=NOW), Window(start=datetime(2026, 2, 1), end=NOW)]
)


def read(reader: IdentReader) -> tuple[Frames, Watermark]:
    everything = reader.everything(Window())
    found = {
        Entity.PATIENT: joined(Entity.PATIENT, reader.patients()),
        Entity.APPOINTMENT: joined(Entity.APPOINTMENT, reader.appointments(everything.appointments)),
    }
    return found, everything.watermark


def differing(before: pd.DataFrame, after: pd.DataFrame) -> set[int]:
    """Keys of rows that are new or hold another value."""

    def rows(frame: pd.DataFrame) -> dict[int, list[Any]]:
        shown = frame.drop(columns="is_primary", errors="ignore").astype(object)
        return {
            int(key): row
            for key, row in zip(
                frame.index, shown.where(shown.notna(), None).to_numpy().tolist(), strict=True
            )
        }

    old = rows(before)
    return {key for key, row in rows(after).items() if old.get(key) != row}


def transferred(frame: pd.DataFrame, window: Window) -> set[int]:
    """Ids of rows whose chain has a row in the window, found the slow way."""
    start, end = (
        None if moment is None else pd.Timestamp(moment, tz="Europe/Moscow")
        for moment in (window.start, window.end)
    )
    starts = dict(zip(frame["appointment_id"].tolist(), frame["start_at"], strict=True))
    bare = {key for key, begins in starts.items() if begins is pd.NaT}  # read alone, for a person to see
    inside = {
        key
        for key, begins in starts.items()
        if not window.bounded
        or (key not in bare and (start is None or begins >= start) and (end is None or begins <= end))
    }
    moved = frame[frame["rescheduled_from_id"].notna()]
    links = list(zip(moved["appointment_id"].tolist(), moved["rescheduled_from_id"].tolist(), strict=True))
    for _ in links:
        for pair in links:
            inside |= set(pair) if inside & set(pair) else set()
    return (inside | bare) & set(frame.index)


@pytest.fixture(scope="module")
def beginning(base: Path, clinic_file: ClinicFile) -> tuple[Frames, Watermark]:
    with clinic_file.filled(base) as clinic:
        return read(clinic.reader())


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(st.lists(edits, min_size=1, max_size=4), min_size=1, max_size=2), window=windows)
def test_an_increment_names_every_row_that_became_another(
    beginning: tuple[Frames, Watermark],
    base: Path,
    clinic_file: ClinicFile,
    steps: list[list[Edit]],
    window: Window,
) -> None:
    before, mark = beginning
    with clinic_file.filled(base) as clinic:
        for step in steps:
            for edit in step:
                clinic.now += timedelta(seconds=30)
                edit(clinic)
            reader = clinic.reader()
            found = reader.changes(mark, window)
            after, _ = read(reader)
            patients, appointments = (
                differing(before[entity], after[entity]) for entity in (Entity.PATIENT, Entity.APPOINTMENT)
            )
            assert patients <= found.patients
            assert appointments & transferred(after[Entity.APPOINTMENT], window) <= found.appointments
            assert found.appointments <= transferred(after[Entity.APPOINTMENT], window)
            before, mark = after, found.watermark
