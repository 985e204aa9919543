"""Canonical frames: the columns, dtypes and units in which patients and appointments leave the IDENT room.

Everything behind the door works on these. A frame from any page, mode or database has exactly these columns
in this order with these dtypes, also when it is empty, so that hashes never change because a page happened
to hold no NULL.

Units: times are UTC instants (``datetime64[us, UTC]``; IDENT stores clinic-local wall time, the clinic's
zone is applied at the event's date), ``birth_date`` is a calendar day (``datetime64[us]`` at midnight),
money is roubles as ``decimal128(18, 2)``, phones are E.164, ids are IDENT's integer keys (unique in one
database only).
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, Literal

import pandas as pd
import pyarrow as pa

__all__ = [
    "APPOINTMENT_COLUMNS",
    "CONTACT_DATA",
    "FRAMES",
    "LEAD_DATA",
    "PATIENT_COLUMNS",
    "Entity",
    "Status",
    "canonical",
    "empty_frame",
    "give_memory_back",
    "text_column",
]


# Arrow's own allocator keeps what pages leave behind; the system's gives it back, and is no slower.
pa.set_memory_pool(pa.system_memory_pool())


class Entity(StrEnum):
    """What a clinic keeps in IDENT and we carry over."""

    PATIENT = "patient"
    APPOINTMENT = "appointment"


class Status(StrEnum):
    """Status of an appointment; the order of the members is the order of an appointment's life.

    The rule that derives it stands in ``tasks.ident.normalise`` (first match wins: cancelled, bill issued,
    completed, in progress, arrived, planned).
    """

    PLANNED = "planned"
    ARRIVED = "arrived"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    BILL_ISSUED = "bill_issued"
    CANCELLED = "cancelled"


TEXT: Final = "str"
KEY: Final = "int64"
REFERENCE: Final = "Int64"
COUNT: Final = "int64"
FLAG: Final = "bool"
INSTANT: Final = "datetime64[us, UTC]"
DAY: Final = "datetime64[us]"
MONEY: Final = pd.ArrowDtype(pa.decimal128(18, 2))

Dtype = Literal["str", "int64", "Int64", "bool", "datetime64[us, UTC]", "datetime64[us]"] | pd.ArrowDtype

#: Column -> dtype of the patients frame; one row per patient card.
PATIENT_COLUMNS: Final[Mapping[str, Dtype]] = {
    "patient_id": KEY,
    "last_name": TEXT,
    "first_name": TEXT,
    "middle_name": TEXT,
    "birth_date": DAY,
    "sex": TEXT,  # "male", "female" or missing
    "phone_mobile": TEXT,  # E.164; what cannot be read as a phone is kept as found and fails validation
    "phone_other": TEXT,
    "email": TEXT,
    "city": TEXT,
    "card_number": TEXT,
    "guardian_name": TEXT,
    "comment": TEXT,
    "ad_source": TEXT,
    "attending_doctor": TEXT,
    "archived": FLAG,
    "archive_reason": TEXT,
    "sms_opt_out": FLAG,
    "first_visit_at": INSTANT,  # start of the first completed appointment
    "last_visit_at": INSTANT,  # start of the last completed appointment
    "visits_completed": COUNT,
    "visits_total": COUNT,  # every appointment that was not cancelled
    "debt": MONEY,
    "changed_at": INSTANT,
}

#: Column -> dtype of the appointments frame; one row per IDENT reception.
APPOINTMENT_COLUMNS: Final[Mapping[str, Dtype]] = {
    "appointment_id": KEY,
    "patient_id": REFERENCE,  # missing: a slot that is not yet a patient's
    "start_at": INSTANT,
    "end_at": INSTANT,
    "status": TEXT,  # a value of Status
    "arrived_at": INSTANT,
    "started_at": INSTANT,
    "ended_at": INSTANT,
    "bill_issued_at": INSTANT,
    "cancelled_at": INSTANT,
    "cancel_reason": TEXT,
    "cancel_comment": TEXT,
    "is_no_show": FLAG,
    "rescheduled_from_id": REFERENCE,
    "doctor": TEXT,
    "speciality": TEXT,  # all professions of the doctor, sorted, joined by ", "
    "cabinet": TEXT,
    "branch": TEXT,
    "services": TEXT,  # names of the order's services, joined by "; ", a count where it is not 1
    "amount": MONEY,
    "paid": MONEY,
    "debt": MONEY,
    "comment": TEXT,
    "source": TEXT,
    "is_primary": FLAG,  # no other completed appointment of the patient starts earlier
    "created_at": INSTANT,
    "changed_at": INSTANT,
}

FRAMES: Final[Mapping[Entity, Mapping[str, Dtype]]] = {
    Entity.PATIENT: PATIENT_COLUMNS,
    Entity.APPOINTMENT: APPOINTMENT_COLUMNS,
}

#: What a contact card can be given, in the order in which the ledger packs the hashes. Append only:
#: a change of order needs a new ``tasks.ledger.hashing.SCHEME``.
CONTACT_DATA: Final[tuple[str, ...]] = (
    "last_name",
    "first_name",  # first and middle name, as amoCRM has no place for the third
    "phone_mobile",
    "phone_other",
    "email",
    "birth_date",
    "sex",
    "city",
    "card_number",
    "guardian_name",
    "comment",
    "ad_source",
    "attending_doctor",
    "archived",
    "archive_reason",
    "sms_opt_out",
    "first_visit_at",
    "last_visit_at",
    "visits_completed",
    "visits_total",
    "debt",
)

#: What a deal card can be given; ``patient_id`` and ``stage`` are steering data: they are compared like the
#: others, but become a link and a place in the pipeline instead of a field.
LEAD_DATA: Final[tuple[str, ...]] = (
    "name",
    "price",
    "start_at",
    "end_at",
    "status",
    "arrived_at",
    "started_at",
    "ended_at",
    "bill_issued_at",
    "cancelled_at",
    "cancel_reason",
    "cancel_comment",
    "is_no_show",
    "doctor",
    "speciality",
    "cabinet",
    "branch",
    "services",
    "amount",
    "paid",
    "debt",
    "comment",
    "source",
    "is_primary",
    "created_at",
    "patient_id",
    "stage",
)


def canonical(frame: pd.DataFrame, entity: Entity) -> pd.DataFrame:
    """Bring a frame to the declared columns and dtypes.

    Args:
        frame: Any frame with at least the declared columns.
        entity: Which declaration to follow.

    Returns:
        A new frame with a fresh ``RangeIndex``, the declared columns only, in the declared order.

    Raises:
        KeyError: When a declared column is missing.
    """
    columns = FRAMES[entity]
    cast = {name: frame[name].astype(dtype) for name, dtype in columns.items()}
    return pd.DataFrame(cast).reset_index(drop=True)


def text_column(values: Any, index: pd.Index | None = None) -> pd.Series:
    """Return a column of texts as Arrow has them, past pandas' own look at each.

    Args:
        values: An array of Arrow's, of texts or of what it writes as such.
        index: The rows'.
    """
    return pd.Series(pd.array(values.cast(pa.large_string()), dtype="str"), index=index)


def empty_frame(entity: Entity) -> pd.DataFrame:
    """Return a frame without rows that has the declared columns and dtypes."""
    return pd.DataFrame({name: pd.Series([], dtype=dtype) for name, dtype in FRAMES[entity].items()})


def give_memory_back() -> None:
    """Give the system what was freed, where its library keeps it: the next step takes as much elsewhere."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; others give back by themselves
        if trim is not None:
            trim(0)
