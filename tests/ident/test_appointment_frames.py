"""The appointments frame: one row a reception, whatever it is joined with."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest

from tasks.frames import APPOINTMENT_COLUMNS, Status
from tests.support.small_clinic import NOW, SmallClinic

SENTINEL = datetime(1900, 1, 1)
START, END = datetime(2026, 3, 20, 12), datetime(2026, 3, 20, 13)
TIMES = ("PatientAppeared", "ReceptionStarted", "ReceptionEnded", "CheckIssued", "ReceptionCanceled")


def utc(*parts: int) -> pd.Timestamp:
    """A moment of Moscow's wall clock."""
    return pd.Timestamp(datetime(*parts), tz="Europe/Moscow").tz_convert("UTC")  # type: ignore[arg-type]


def test_a_whole_row(clinic: SmallClinic) -> None:
    found = clinic.appointment(101)
    expected: dict[str, Any] = {
        "appointment_id": 101,
        "patient_id": 11,
        "start_at": utc(2026, 2, 10, 10),
        "end_at": utc(2026, 2, 10, 10, 30),
        "status": "bill_issued",
        "arrived_at": utc(2026, 2, 10, 9, 55),
        "started_at": utc(2026, 2, 10, 10, 1),
        "ended_at": utc(2026, 2, 10, 10, 29),
        "bill_issued_at": utc(2026, 2, 10, 10, 35),
        "is_no_show": False,
        "doctor": "Орлова Анна Петровна",
        "speciality": "Ортопед, Терапевт",
        "cabinet": "Кабинет 1",
        "branch": "Центр",
        "services": "Осмотр; Пломба ×2",
        "amount": Decimal("6401.00"),
        "paid": Decimal("6401.00"),
        "debt": Decimal("0.00"),
        "comment": "снимок",
        "source": "Телефон",
        "is_primary": True,
        "created_at": utc(2026, 2, 1, 9),
        "changed_at": utc(2026, 3, 1, 9),
    }
    missing = {name for name in APPOINTMENT_COLUMNS if pd.isna(found[name])}
    assert {name: found[name] for name in expected} == expected
    assert missing == set(APPOINTMENT_COLUMNS) - set(expected)


def test_what_lies_between_the_ids_asked_for_is_left_out(clinic: SmallClinic) -> None:
    clinic.add("Orders", ID=950, ID_Receptions=102, ID_Patients=11)
    together = clinic.appointments([101, 103, 104])
    assert together["appointment_id"].tolist() == [101, 103, 104]
    for key in (101, 103, 104):
        pd.testing.assert_frame_equal(together.loc[[key]], clinic.appointments([key]))


def test_the_frame_is_canonical(clinic: SmallClinic) -> None:
    for frame in (clinic.appointments(), clinic.appointments([999]), clinic.appointments([106])):
        assert {name: frame[name].dtype for name in frame} == APPOINTMENT_COLUMNS
        assert list(frame) == list(APPOINTMENT_COLUMNS)


def test_a_slot_without_a_patient(clinic: SmallClinic) -> None:
    found = clinic.appointment(106)
    assert pd.isna(found["patient_id"])
    assert pd.isna(found["doctor"])
    assert pd.isna(found["cabinet"])
    assert pd.isna(found["branch"])
    assert (found["status"], found["is_primary"]) == ("planned", True)


@pytest.mark.parametrize(
    ("set_columns", "expected"),
    [
        ((), Status.PLANNED),
        (("PatientAppeared",), Status.ARRIVED),
        (("ReceptionStarted",), Status.IN_PROGRESS),
        (("PatientAppeared", "ReceptionStarted"), Status.IN_PROGRESS),
        (("ReceptionEnded",), Status.COMPLETED),
        (("PatientAppeared", "ReceptionStarted", "ReceptionEnded"), Status.COMPLETED),
        (("CheckIssued",), Status.BILL_ISSUED),
        (("ReceptionEnded", "CheckIssued"), Status.BILL_ISSUED),
        (TIMES, Status.CANCELLED),
        (("ReceptionCanceled",), Status.CANCELLED),
        (("ID_ReceptionCancelReasons",), Status.CANCELLED),
        (("ID_ReceptionCancelReasons", "CheckIssued"), Status.CANCELLED),
        (("CancelReasonComment",), Status.PLANNED),
    ],
)
def test_the_first_status_that_fits_wins(
    clinic: SmallClinic, set_columns: tuple[str, ...], expected: Status
) -> None:
    values = {"ID_ReceptionCancelReasons": 1, "CancelReasonComment": "передумал"}
    clinic.change("Receptions", 102, **{name: values.get(name, NOW) for name in set_columns})
    assert clinic.appointment(102)["status"] == expected.value


def test_sentinel_times_are_no_status(clinic: SmallClinic) -> None:
    clinic.change("Receptions", 102, **dict.fromkeys(TIMES, SENTINEL))
    found = clinic.appointment(102)
    assert found["status"] == "planned"
    assert found[["arrived_at", "started_at", "ended_at", "bill_issued_at", "cancelled_at"]].isna().all()


def test_a_planned_start_of_1900_is_missing(clinic: SmallClinic) -> None:
    clinic.change("Receptions", 102, PlanStart=SENTINEL, PlanEnd=SENTINEL)
    found = clinic.appointment(102)
    assert found[["start_at", "end_at"]].isna().all()


def test_one_row_despite_professions_and_orders(clinic: SmallClinic) -> None:
    clinic.add("Items", ID_Staffs=1, ID_ProfessionNames=2)
    second = clinic.add("Orders", ID_Receptions=101, ID_Patients=11, ID_OwnCompanies=2)
    clinic.add("OrderServiceRelation", ID_Orders=second, ID_ServicePrices=1, CountService=3)
    clinic.add(
        "OrderPaymentsJournal",
        ID_Orders=second,
        ID_Patients=11,
        AmountWithDiscount=Decimal(1500),
        Debt=Decimal(200),
    )
    found = clinic.appointments()
    assert found["appointment_id"].tolist() == [101, 102, 103, 104, 105, 106]
    row = found.loc[101]
    assert (row["speciality"], row["branch"]) == ("Ортопед, Терапевт", "Центр")
    assert row["services"] == "Осмотр; Пломба ×2; Осмотр ×3"
    assert (row["amount"], row["paid"], row["debt"]) == (
        Decimal("7901.00"),
        Decimal("7701.00"),
        Decimal("200.00"),
    )


def test_only_what_the_journal_knows_counts_as_paid(clinic: SmallClinic) -> None:
    second = clinic.add("Orders", ID_Receptions=101, ID_Patients=11)
    clinic.add("OrderServiceRelation", ID_Orders=second, ID_ServicePrices=1, CountService=3)
    row = clinic.appointment(101)
    assert (row["amount"], row["paid"], row["debt"]) == (
        Decimal("7901.00"),
        Decimal("6401.00"),
        Decimal("0.00"),
    )


def test_sums_come_from_the_services_where_the_journal_is_silent(clinic: SmallClinic) -> None:
    order = clinic.add("Orders", ID_Receptions=102, ID_Patients=11)
    clinic.add(
        "OrderServiceRelation",
        ID_Orders=order,
        ID_ServicePrices=2,
        CountService=3,
        DiscountSum=Decimal("0.495"),
    )
    row = clinic.appointment(102)
    assert row["amount"] == Decimal("9001.01")  # 9001.005, half up
    assert pd.isna(row["paid"])
    assert pd.isna(row["debt"])
    clinic.add("OrderPaymentsJournal", ID_Orders=order, ID_Patients=11)  # no sum yet
    assert clinic.appointment(102)["amount"] == Decimal("9001.01")


def test_a_service_without_a_price_makes_no_negative_sum(clinic: SmallClinic) -> None:
    order = clinic.add("Orders", ID_Receptions=102, ID_Patients=11)
    clinic.add(
        "OrderServiceRelation", ID_Orders=order, ID_ServicePrices=77, CountService=1, DiscountSum=Decimal(50)
    )
    row = clinic.appointment(102)
    assert pd.isna(row["amount"])
    assert pd.isna(row["services"])


def test_an_order_without_a_reception_belongs_to_none(clinic: SmallClinic) -> None:
    before = clinic.appointments()
    order = clinic.add("Orders", ID_Patients=11, DateTimeOrder=SENTINEL)
    clinic.add("OrderServiceRelation", ID_Orders=order, ID_ServicePrices=1, CountService=15400)
    pd.testing.assert_frame_equal(clinic.appointments(), before)


@pytest.mark.parametrize(
    ("order", "chair", "branch"),
    [
        (2, 1, "ООО Север"),
        (1, 2, "Центр"),
        (None, 1, "Центр"),
        (None, 2, "ООО Север"),
        (None, None, None),
        (3, 1, "Филиал 3"),
    ],
)
def test_the_branch_is_the_orders_else_the_chairs(
    clinic: SmallClinic, order: int | None, chair: int | None, branch: str | None
) -> None:
    clinic.add("OwnCompanies", ID=3)
    clinic.change("Orders", 201, ID_OwnCompanies=order)
    clinic.change("Receptions", 101, ID_Armchairs=chair)
    found = clinic.appointment(101)["branch"]
    assert (None if pd.isna(found) else found) == branch


# ---- no-shows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"ReceptionCanceled": END}, True),  # closed by IDENT itself
        ({"ReceptionCanceled": END, "ID_StaffsReceptionCanceled": 2}, False),
        ({"ReceptionCanceled": END - timedelta(milliseconds=3)}, False),
        ({"ReceptionCanceled": START}, False),
        ({"ReceptionCanceled": START, "ID_ReceptionCancelReasons": 8, "ID_StaffsReceptionCanceled": 2}, True),
        ({"ID_ReceptionCancelReasons": 8}, True),
        ({"ID_ReceptionCancelReasons": 1, "ID_StaffsReceptionCanceled": 2}, False),
        ({"ID_ReceptionCancelReasons": 9}, True),
        ({"ID_ReceptionCancelReasons": 10}, True),
        ({"CheckIssued": END}, False),
        ({}, False),
    ],
)
def test_who_did_not_come(clinic: SmallClinic, values: dict[str, Any], expected: bool) -> None:
    clinic.add("ReceptionCancelReasons", ID=9, Name="НЕЯВКА без звонка")
    clinic.add("ReceptionCancelReasons", ID=10, Name="пациентка не явилась")
    clinic.change("Receptions", 102, **values)
    assert clinic.appointment(102)["is_no_show"] == expected


def test_a_clinic_names_its_own_reasons(clinic: SmallClinic) -> None:
    assert not clinic.appointment(103)["is_no_show"]
    assert clinic.appointment(103, no_show_reasons=frozenset({1, 5}))["is_no_show"]
    # An id that is set names a reason, not a state: an appointment that was kept is none.
    assert not clinic.appointment(101, no_show_reasons=frozenset({1}))["is_no_show"]


# ---- primary and repeat --------------------------------------------------------------------------------


def test_another_completed_visit_before_makes_a_repeat(clinic: SmallClinic) -> None:
    found = clinic.appointments()["is_primary"]
    assert found.to_dict() == {101: True, 102: False, 103: True, 104: True, 105: True, 106: True}


def test_its_own_completion_does_not_flip_an_appointment(clinic: SmallClinic) -> None:
    for values in (
        {"PatientAppeared": NOW},
        {"ReceptionStarted": NOW},
        {"ReceptionEnded": NOW},
        {"CheckIssued": NOW},
    ):
        clinic.change("Receptions", 104, **values)
        assert clinic.appointment(104)["is_primary"]


@pytest.mark.parametrize(
    ("values", "primary"),
    [
        ({}, True),
        ({"PatientAppeared": NOW, "ReceptionStarted": NOW}, True),
        ({"ReceptionEnded": NOW}, False),
        ({"CheckIssued": NOW}, False),
        ({"ReceptionEnded": NOW, "ReceptionCanceled": NOW}, True),
        ({"ReceptionEnded": NOW, "ID_ReceptionCancelReasons": 1}, True),
        ({"ReceptionEnded": NOW, "ReceptionCanceled": SENTINEL}, False),
        ({"ReceptionEnded": SENTINEL, "CheckIssued": SENTINEL}, True),
        ({"ReceptionEnded": NOW, "PlanStart": datetime(2026, 3, 25, 12)}, True),  # not earlier
        ({"ReceptionEnded": NOW, "PlanStart": datetime(2026, 3, 25, 11, 59)}, False),
        ({"ReceptionEnded": NOW, "PlanStart": datetime(2026, 3, 26)}, True),
        ({"ReceptionEnded": NOW, "PlanStart": SENTINEL}, True),
        ({"ReceptionEnded": NOW, "PlanStart": None}, True),
        ({"ReceptionEnded": NOW, "ID_Patients": 13}, True),
    ],
)
def test_which_other_visit_counts(clinic: SmallClinic, values: dict[str, Any], primary: bool) -> None:
    clinic.add("Receptions", **({"ID_Patients": 12, "PlanStart": datetime(2026, 3, 2, 9)} | values))
    assert clinic.appointment(104)["is_primary"] == primary
