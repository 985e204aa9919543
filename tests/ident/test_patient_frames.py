"""The patients frame."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest

from tasks.frames import PATIENT_COLUMNS
from tests.support.small_clinic import NOW, SmallClinic

SENTINEL = datetime(1900, 1, 1)


def test_a_whole_row(clinic: SmallClinic) -> None:
    found = clinic.patient(11)
    visit = pd.Timestamp("2026-02-10 07:00", tz="UTC")
    expected: dict[str, Any] = {
        "patient_id": 11,
        "last_name": "Ким",
        "first_name": "Вера",
        "middle_name": "Львовна",
        "birth_date": pd.Timestamp(1990, 2, 1),
        "sex": "female",
        "phone_mobile": "+79161234567",
        "phone_other": "+74957654321",
        "email": "vera@example.org",
        "city": "Тверь",
        "card_number": "А-11",
        "guardian_name": "Ким Лев",
        "comment": "аллергия",
        "ad_source": "Вывеска",
        "attending_doctor": "Орлова Анна Петровна",
        "archived": False,
        "sms_opt_out": True,
        "first_visit_at": visit,
        "last_visit_at": visit,
        "visits_completed": 1,
        "visits_total": 2,
        "debt": Decimal("0.00"),
        "changed_at": pd.Timestamp("2026-03-01 06:00", tz="UTC"),
    }
    assert {name: found[name] for name in expected} == expected
    assert {name for name in PATIENT_COLUMNS if pd.isna(found[name])} == {"archive_reason"}


def test_the_frame_is_canonical(clinic: SmallClinic) -> None:
    for frame in (clinic.patients(), clinic.patients([999]), clinic.patients([14])):
        assert {name: frame[name].dtype for name in frame} == PATIENT_COLUMNS
        assert list(frame) == list(PATIENT_COLUMNS)


def test_a_patient_who_never_came(clinic: SmallClinic) -> None:
    found = clinic.patient(14)
    assert (found["visits_completed"], found["visits_total"], found["debt"]) == (0, 0, Decimal("0.00"))
    assert found[["first_visit_at", "last_visit_at"]].isna().all()


def test_an_archived_patient(clinic: SmallClinic) -> None:
    found = clinic.patient(12)
    assert found["archived"]
    assert found["archive_reason"] == "Переехал"
    clinic.change("Patients", 12, ID_ArchivingReasons=77)
    found = clinic.patient(12)
    assert found["archived"]
    assert pd.isna(found["archive_reason"])


def test_visits_are_counted_without_the_cancelled(clinic: SmallClinic) -> None:
    add = {"ID_Patients": 14}
    clinic.add("Receptions", **add, PlanStart=datetime(2026, 1, 1, 9), ReceptionEnded=NOW)
    clinic.add(
        "Receptions", **add, PlanStart=datetime(2026, 2, 1, 9), CheckIssued=NOW, ReceptionCanceled=SENTINEL
    )
    clinic.add(
        "Receptions", **add, PlanStart=datetime(2026, 2, 2, 9), ReceptionStarted=NOW, ReceptionEnded=SENTINEL
    )
    clinic.add(
        "Receptions", **add, PlanStart=datetime(2025, 1, 1, 9), ReceptionEnded=NOW, ReceptionCanceled=NOW
    )
    clinic.add(
        "Receptions", **add, PlanStart=datetime(2026, 3, 1, 9), CheckIssued=NOW, ID_ReceptionCancelReasons=1
    )
    clinic.add("Receptions", **add, PlanStart=SENTINEL, ReceptionEnded=NOW)
    found = clinic.patient(14)
    assert (found["visits_completed"], found["visits_total"]) == (3, 4)
    assert found["first_visit_at"] == pd.Timestamp("2026-01-01 06:00", tz="UTC")
    assert found["last_visit_at"] == pd.Timestamp("2026-02-01 06:00", tz="UTC")


def test_debts_add_up_exactly(clinic: SmallClinic) -> None:
    for number, debt in enumerate(("0.0049999999", "0.0000000001", "100", None), 900):
        given = None if debt is None else Decimal(debt)
        clinic.add("OrderPaymentsJournal", ID_Orders=number, ID_Patients=14, Debt=given)
    assert clinic.patient(14)["debt"] == Decimal("100.01")
    assert clinic.patient(13)["debt"] == Decimal("500.00")


def test_the_latest_of_both_stamps(clinic: SmallClinic) -> None:
    clinic.change("Persons", 11, DateTimeChanged=NOW)
    assert clinic.patient(11)["changed_at"] == pd.Timestamp(NOW, tz="Europe/Moscow")
    clinic.change("Persons", 11, DateTimeChanged=None)
    assert clinic.patient(11)["changed_at"] == pd.Timestamp("2026-03-01 06:00", tz="UTC")


def test_sparse_and_dense_keys_give_the_same(clinic: SmallClinic) -> None:
    clinic.add("Persons", ID=100_000, Surname="Дальний")
    clinic.add("Patients", ID_Persons=100_000)
    clinic.add("Receptions", ID_Patients=100_000, PlanStart=datetime(2026, 1, 1, 9), ReceptionEnded=NOW)
    clinic.add("OrderPaymentsJournal", ID_Orders=900, ID_Patients=100_000, Debt=Decimal(7))
    together = clinic.patients([11, 13, 100_000])
    for key in (11, 13, 100_000):
        pd.testing.assert_frame_equal(together.loc[[key]], clinic.patients([key]))
    assert together.loc[100_000, "debt"] == Decimal("7.00")


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_pages_hold_each_patient_once(clinic: SmallClinic, size: int) -> None:
    pages = list(clinic.reader(page_size=size).patients())
    assert [key for page in pages for key in page["patient_id"]] == [11, 12, 13, 14]
    assert max(map(len, pages)) <= size
    chosen = list(clinic.reader(page_size=size).patients({14, 12, 999}))
    assert [key for page in chosen for key in page["patient_id"]] == [12, 14]


def test_a_patient_added_while_pages_are_read_is_not_skipped(clinic: SmallClinic) -> None:
    pages = clinic.reader(page_size=2).patients()
    found = next(pages)["patient_id"].tolist()
    for key in (5, 20):
        clinic.add("Persons", ID=key, Surname="Внезапный")
        clinic.add("Patients", ID_Persons=key)
    found += [key for page in pages for key in page["patient_id"]]
    assert found == [11, 12, 13, 14, 20]  # 5 is found by its stamp, in the next increment
