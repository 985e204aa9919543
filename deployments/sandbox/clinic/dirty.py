"""Defects as clinics have them, planted into a generated clinic: each with the rule that must catch it.

The same seed soils the same rows. Every row is soiled at most once: a defect is caught for its own sake.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Literal

from deployments.sandbox.clinic.rows import Row, row_version

__all__ = ["Defect", "soil"]

Tables = dict[str, list[Row]]

_COURSE = ("PatientAppeared", "ReceptionStarted", "ReceptionEnded", "CheckIssued")
_LATEST_VERSION = 0xFFFFFF
_NOBODY = 10_000_000
_LONG_TEXT = "очень длинная заметка " * 200


@dataclass(frozen=True, slots=True)
class Defect:
    """One planted defect.

    Attributes:
        kind: What is wrong, in a word.
        entity: Whose row it is.
        key: Persons.ID or Receptions.ID.
        code: The rule that must catch it.
    """

    kind: str
    entity: Literal["patient", "appointment"]
    key: int
    code: str


def soil(tables: Tables, cases: dict[str, list[int]], moment: datetime, seed: int) -> list[Defect]:
    """Plant one defect of every kind.

    Args:
        tables: Rows of every table, changed in place.
        cases: Special cases of the clinic; those that are defects of their own are labelled too.
        moment: The clinic's present moment.
        seed: Which rows it happens to.

    Returns:
        The defects, those that the generator made by itself included.
    """
    found = _Soil(tables, cases, moment, random.Random(seed))
    found.patients()
    found.appointments()
    found.bills()
    found.doubles()
    return found.defects


class _Soil:
    def __init__(
        self, tables: Tables, cases: dict[str, list[int]], moment: datetime, rng: random.Random
    ) -> None:
        self._tables, self._moment, self._rng = tables, moment, rng
        self._persons = {row["ID"]: row for row in tables["Persons"]}
        self._cards = {row["ID_Persons"]: row for row in tables["Patients"]}
        self._receptions = {row["ID"]: row for row in tables["Receptions"]}
        self._journal = {row["ID_Orders"]: row for row in tables["OrderPaymentsJournal"]}
        self.defects: list[Defect] = []
        for case, entity, code in (
            ("broken_phone", "patient", "phone_mobile_e164"),
            ("no_phone", "patient", "phone_present"),
            ("blocked", "appointment", "no_patient"),
        ):
            self._label(case, entity, code, *cases.get(case, ()))  # type: ignore[arg-type]
        special = {
            key for name in ("broken_phone", "no_phone", "shared_phone") for key in cases.get(name, ())
        }
        sound = [key for key in self._cards if key not in special and self._is_sound(key)]
        rng.shuffle(sound)
        self._people = sound
        followed = {row["ID_ReceptionsTransferFrom"] for row in tables["Receptions"]}
        alone = [
            row
            for row in tables["Receptions"]
            if row["ID_Patients"] is not None
            and row["ID_ReceptionsTransferFrom"] is None
            and row["ID"] not in followed
        ]
        rng.shuffle(alone)
        self._alone = alone

    def _is_sound(self, key: int) -> bool:
        person = self._persons[key]
        return bool(
            person["Surname"] and person["Name"] and person["Birthday"] and person["MobilePhone"]
        ) and (person["Birthday"] < self._moment.date())

    def _label(self, kind: str, entity: Literal["patient", "appointment"], code: str, *keys: int) -> None:
        self.defects += [Defect(kind, entity, key, code) for key in keys]

    # ---- patients --------------------------------------------------------------------------------------

    def _soil_person(self, kind: str, code: str, **values: object) -> Row:
        person = self._persons[self._people.pop()]
        person.update(values)
        self._label(kind, "patient", code, person["ID"])
        return person

    def _soil_card(self, kind: str, code: str, **values: object) -> Row:
        card = self._cards[self._people.pop()]
        card.update(values)
        self._label(kind, "patient", code, card["ID_Persons"])
        return card

    def patients(self) -> None:
        """Soil patients' cards, one each."""
        rng, today = self._rng, self._moment.date()
        self._soil_person("no name", "name_present", Surname=None, Name=None)
        self._soil_person("digits in the name", "name_plausible", Surname=f"Иванова {rng.randint(2, 9)}")
        self._soil_person("bell in the name", "name_clean", Surname="Ива\x07нова")
        self._soil_person("half a phone", "phone_mobile_e164", MobilePhone=f"+7 (916) {rng.randint(10, 99)}")
        self._soil_person("impossible area code", "phone_mobile_e164", MobilePhone="8 (123) 456-78-90")
        self._soil_person("words for a phone", "phone_mobile_e164", MobilePhone="спросить у мужа")
        self._soil_person("broken second phone", "phone_other_e164", Phone=str(rng.randint(100, 9999)))
        self._soil_person("no phone at all", "phone_present", MobilePhone=None, Phone=None)
        self._soil_person("birthday of 1900", "birth_date_sentinel", Birthday=date(1900, 1, 1))
        self._soil_person("birthday of 1899", "birth_date_sentinel", Birthday=date(1899, 12, 30))
        ahead = today + timedelta(days=rng.randint(30, 3000))
        self._soil_person("born in the future", "birth_date_plausible", Birthday=ahead)
        self._soil_person(
            "born long ago", "birth_date_plausible", Birthday=date(rng.randint(1750, 1880), 5, 7)
        )
        self._soil_person("year of one digit", "birth_date_plausible", Birthday=date(9, 5, 7))
        self._soil_person("address without @", "email_shape", Email=f"patient{rng.randint(1, 99)}.mail.ru")
        self._soil_person("address with a space", "email_shape", Email="anna ivanova@example.org")
        self._soil_person("address without a host", "email_shape", Email="anna@example")
        self._soil_card("bell in the comment", "comment_clean", Comment="просит\x01 утро")
        self._soil_card("endless comment", "comment_length", Comment=_LONG_TEXT)
        self._soil_card(
            "changed in the future",
            "changed_at_not_future",
            DateTimeChanged=self._moment + timedelta(days=rng.randint(10, 90)),
        )
        card = self._soil_card("card number of another", "card_number_unique")
        other = self._people.pop()
        card["CardNumber"] = self._cards[other]["CardNumber"] = f"Д-{card['ID_Persons']}"
        self._label("card number of another", "patient", "card_number_unique", other)

    # ---- appointments ----------------------------------------------------------------------------------

    def _take(self, fits: Callable[[Row], bool]) -> Row:
        row = next(row for row in self._alone if fits(row))
        self._alone.remove(row)
        return row

    def _planned(self) -> Row:
        """Return an appointment of the coming days, of which nothing has happened."""
        names = (*_COURSE, "ReceptionCanceled", "ID_ReceptionCancelReasons")
        return self._take(
            lambda row: row["PlanStart"] > self._moment and all(row[name] is None for name in names)
        )

    def _done(self) -> Row:
        """Return a visit with its whole course, long enough ago."""
        return self._take(
            lambda row: (
                row["PlanStart"] < self._moment - timedelta(days=2)
                and all(row[name] is not None for name in _COURSE)
                and row["PatientAppeared"].year > 1900
            )
        )

    def _soil_visit(self, row: Row, kind: str, code: str, **values: object) -> Row:
        row.update(values)
        self._label(kind, "appointment", code, row["ID"])
        return row

    def appointments(self) -> None:
        """Soil appointments, one each."""
        rng, hour = self._rng, timedelta(hours=1)
        self._soil_visit(self._planned(), "nobody's visit", "patient_known", ID_Patients=_NOBODY)
        self._soil_visit(self._planned(), "no start", "start_at_present", PlanStart=None)
        self._soil_visit(self._planned(), "start of 1900", "start_at_present", PlanStart=datetime(1900, 1, 1))  # noqa: DTZ001
        row = self._planned()
        years = timedelta(days=365 * rng.randint(10, 60))
        far = {"PlanStart": row["PlanStart"] + years, "PlanEnd": row["PlanEnd"] + years}
        self._soil_visit(row, "start in decades", "start_at_plausible", **far)
        self._soil_visit(self._planned(), "no end", "end_at_present", PlanEnd=None)
        row = self._planned()
        self._soil_visit(row, "ends first", "end_not_before_start", PlanEnd=row["PlanStart"] - hour)
        row = self._planned()
        self._soil_visit(row, "no time at all", "duration_plausible", PlanEnd=row["PlanStart"])
        row = self._planned()
        endless = row["PlanStart"] + hour * rng.randint(13, 200)
        self._soil_visit(row, "endless visit", "duration_plausible", PlanEnd=endless)
        self._soil_visit(
            self._planned(),
            "visit changed in the future",
            "changed_at_not_future",
            DateTimeChanged=self._moment + timedelta(days=rng.randint(10, 90)),
        )
        self._soil_visit(self._planned(), "bell in a note", "comment_clean", Comment="снимок\x02")
        self._soil_visit(self._planned(), "endless note", "comment_length", Comment=_LONG_TEXT)
        row = self._planned()
        self._soil_visit(
            row, "moved from itself", "not_rescheduled_from_itself", ID_ReceptionsTransferFrom=row["ID"]
        )
        self._courses()

    def _courses(self) -> None:
        """Soil what happened to appointments, and when."""
        hour, day = timedelta(hours=1), timedelta(days=1)
        for column, code in zip(
            _COURSE,
            ("arrived_not_future", "started_not_future", "ended_not_future", "bill_not_future"),
            strict=True,
        ):
            row = self._planned()
            ahead = max(row["PlanStart"], self._moment + 2 * day)
            self._soil_visit(row, f"{column} in the future", code, **{column: ahead})
        row = self._done()
        cancelled = {"ReceptionCanceled": row["ReceptionEnded"] + hour, "ID_ReceptionCancelReasons": 1}
        self._soil_visit(row, "cancelled after it took place", "status_consistent", **cancelled)
        row = self._done()
        early = row["PatientAppeared"] - hour
        self._soil_visit(
            row, "began before the arrival", "started_not_before_arrived", ReceptionStarted=early
        )
        row = self._done()
        self._soil_visit(
            row,
            "over before it began",
            "ended_not_before_started",
            ReceptionEnded=row["ReceptionStarted"] - hour / 12,
        )
        row = self._done()
        later = {"PlanStart": self._moment + 9 * day, "PlanEnd": self._moment + 9 * day + hour}
        self._soil_visit(row, "moved after it took place", "ended_on_its_day", **later)

    # ---- money -----------------------------------------------------------------------------------------

    def bills(self) -> None:
        """Soil bills of visits."""
        orders = {row["ID_Receptions"]: row["ID"] for row in self._tables["Orders"] if row["ID_Receptions"]}

        soiled = {defect.key for defect in self.defects if defect.entity == "patient"}

        def bill() -> tuple[Row, Row]:
            row = self._take(
                lambda row: orders.get(row["ID"]) in self._journal and row["ID_Patients"] not in soiled
            )
            return row, self._journal[orders[row["ID"]]]

        row, entry = bill()
        entry.update(AmountWithDiscount=Decimal(-500), Debt=Decimal(0))
        self._soil_visit(row, "negative bill", "amount_not_negative")
        row, entry = bill()
        entry["Debt"] = entry["AmountWithDiscount"] + Decimal(1000)
        self._soil_visit(row, "debt beyond the bill", "debt_within_amount")
        row, entry = bill()
        entry["Debt"] = Decimal(-1_000_000)
        self._soil_visit(row, "paid too much", "debt_not_negative")
        self._label("patient paid too much", "patient", "debt_not_negative", row["ID_Patients"])
        # One defect each: nobody may register this patient a second time below.
        self._people = [key for key in self._people if key != row["ID_Patients"]]

    # ---- rows that are there twice, or should not be ---------------------------------------------------

    def doubles(self) -> None:
        """Add rows that a table of IDENT should not have."""
        self._second_card()
        like = self._people.pop()
        person = {"ID": 0, "MobilePhone": "+7 916 000-00-01"}
        self._tables["Persons"].append({**self._persons[like], **person})
        self._tables["Patients"].append({**self._cards[like], "ID_Persons": 0, "CardNumber": None})
        self._label("card number zero", "patient", "patient_id_valid", 0)
        twice = self._people.pop()
        self._cards[twice]["CardNumber"] = self._persons[twice]["Birthday"] = None
        self._tables["Patients"].append(dict(self._cards[twice]))
        self._label("card there twice", "patient", "patient_id_unique", twice)
        row = self._planned()
        shifted = {
            "PlanStart": row["PlanStart"] + timedelta(hours=2),
            "PlanEnd": row["PlanEnd"] + timedelta(hours=2),
        }
        self._add_visit(row, ID=0, **shifted)
        self._label("visit number zero", "appointment", "appointment_id_valid", 0)
        row = self._planned()
        second = max(self._receptions) + 1
        self._add_visit(row, ID=second)
        self._label("booked twice", "appointment", "booked_once", row["ID"], second)
        row = self._take(lambda row: row["ReceptionCanceled"] is not None and row["ReceptionEnded"] is None)
        self._add_visit(row)
        self._label("visit there twice", "appointment", "appointment_id_unique", row["ID"])

    def _second_card(self) -> None:
        """Register a person a second time, under another number."""
        like = self._people.pop()
        new = max(*self._persons, *self._cards) + 1
        self._tables["Persons"].append({**self._persons[like], "ID": new})
        self._tables["Patients"].append({**self._cards[like], "ID_Persons": new, "CardNumber": None})
        self._label("one person, two cards", "patient", "person_unique", like, new)

    def _add_visit(self, like: Row, **values: object) -> None:
        row = {**like, **values}
        row["RowVersion"] = row_version(_LATEST_VERSION + len(self.defects))
        self._tables["Receptions"].append(row)
