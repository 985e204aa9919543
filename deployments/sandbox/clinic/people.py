"""Patients of the demo clinic: households that share a phone, children with guardians, untidy data."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import NamedTuple

from deployments.sandbox.clinic import names
from deployments.sandbox.clinic.rows import SENTINEL, Row, RowFactory, sql_datetime

Cases = dict[str, list[int]]
"""Name of a special case -> ids of the rows made for it."""

_DAYS_A_YEAR = 365


@dataclass(slots=True)
class Patient:
    """What later steps must know of a patient: kept small, a large clinic has a third of a million."""

    key: int
    archived: bool
    phone: int | None
    guardian: str | None
    full_name: str
    first_visit: datetime | None = None


class _Household(NamedTuple):
    surname: tuple[str, str]
    phone: int | None
    foreign: str | None
    children: int
    adults: int


def spell_phone(national: int, rng: random.Random) -> str:
    """One of the ways reception desks write a Russian mobile number.

    Args:
        national: Ten digits without the country code.
        rng: The source of chance.
    """
    digits = str(national)
    a, b, c, d = digits[:3], digits[3:6], digits[6:8], digits[8:]
    return rng.choice(
        (
            f"8-{a}-{b}-{c}-{d}",
            digits,
            f"+7 ({a}) {b}-{c}-{d}",
            f"8{digits}",
            f"7{digits}",
            f"+7{digits}",
            f"8 ({a}) {b} {c} {d}",
            f"+7 {a} {b}-{c}-{d}",
        )
    )


def _foreign_phone(rng: random.Random) -> str:
    tail = rng.randrange(100000, 1000000)
    return rng.choice((f"+995 555 {tail}", f"+49151 23{tail}", f"+37491{tail}", f"+7 701 5{tail}"))


class People:
    """Makes the patients of one clinic, one household after another."""

    def __init__(self, rng: random.Random, rows: RowFactory, moment: datetime, cases: Cases) -> None:
        self._rng, self._rows, self._moment, self._cases = rng, rows, moment, cases
        self.patients: list[Patient] = []
        self._broken: frozenset[int] = frozenset()

    def persons(self, count: int, first_key: int) -> Iterator[Row]:
        """Rows of Persons for `count` patients; fills `patients` on the way."""
        self._broken = frozenset(self._rng.sample(range(count), max(1, count // 100)))
        household = 0
        while len(self.patients) < count:
            home = self._household(household)
            size = min(home.adults + home.children, count - len(self.patients))
            guardian: str | None = None
            for member in range(size):
                child = member >= home.adults
                row = self._person(first_key + len(self.patients), home, child=child)
                self._keep(row, home, guardian if child else None, shared=size > 1)
                guardian = guardian or self.patients[-1].full_name
                yield row
            household += 1

    def _household(self, number: int) -> _Household:
        rng = self._rng
        family = rng.random() < 0.3
        foreign = number % 25 == 7
        return _Household(
            surname=rng.choice(names.SURNAMES),
            phone=None if foreign else rng.choice(names.MOBILE_CODES) * 10**7 + rng.randrange(10**7),
            foreign=_foreign_phone(rng) if foreign else None,
            adults=rng.choice((1, 2, 2)) if family else 1,
            children=rng.choice((0, 1, 1, 2)) if family else 0,
        )

    def _person(self, key: int, home: _Household, *, child: bool) -> Row:
        rng, index = self._rng, len(self.patients)
        female = rng.random() < 0.55
        first = rng.choice(names.FEMALE_NAMES if female else names.MALE_NAMES)
        surname: str | None = home.surname[female]
        if home.foreign and not child:
            surname, first = rng.choice(names.FOREIGN_PERSONS)
        if index % 70 == 33:
            surname = None
        age = rng.randrange(2, 17) if child else rng.randrange(18, 86)
        born = self._moment.date() - timedelta(days=age * _DAYS_A_YEAR + rng.randrange(_DAYS_A_YEAR))
        mobile, other = self._phones(index, home)
        return self._rows.make(
            "Persons",
            ID=key,
            Surname=surname,
            Name=first,
            Patronymic=None if home.foreign or rng.random() < 0.06 else rng.choice(names.PATRONYMICS)[female],
            Birthday=None if rng.random() < 0.06 else born,
            Sex=rng.choice((0, None)) if rng.random() < 0.05 else 2 if female else 1,
            Phone=other,
            MobilePhone=mobile,
            Email=f"patient{key}@example.org" if not child and rng.random() < 0.4 else None,
            City=rng.choice(names.CITIES) if rng.random() < 0.7 else None,
            DateTimeChanged=self._before_now(),
        )

    def _phones(self, index: int, home: _Household) -> tuple[str | None, str | None]:
        """MobilePhone and Phone: most have the first, some the second, few none, 1% a broken one."""
        rng = self._rng
        if index in self._broken:
            return rng.choice(names.BROKEN_PHONES), None
        if index % 30 == 11:
            return rng.choice((None, *names.EMPTY_PHONES)), None
        return (home.foreign, None) if home.foreign else self._russian_phones(home.phone or 0)

    def _russian_phones(self, national: int) -> tuple[str | None, str | None]:
        rng, chance = self._rng, self._rng.random()
        mobile, other = spell_phone(national, rng), None
        if chance < 0.05:
            return None, mobile
        if chance < 0.08:
            mobile = f"{mobile}, {spell_phone(national, rng)}"
        elif chance < 0.2:
            other = f"8 (495) {rng.randrange(200, 800)}-{rng.randrange(10, 99)}-{rng.randrange(10, 99)}"
        return mobile, other

    def _keep(self, row: Row, home: _Household, guardian: str | None, *, shared: bool) -> None:
        index, key, cases = len(self.patients), row["ID"], self._cases
        name = " ".join(part for part in (row["Surname"], row["Name"], row["Patronymic"]) if part)
        patient = Patient(key, index % 50 == 20, home.phone, guardian, name)
        self.patients.append(patient)
        broken, empty = index in self._broken, index % 30 == 11
        flags = {
            "broken_phone": broken,
            "no_phone": empty and not broken,
            "foreign_phone": bool(home.foreign) and not empty and not broken,
            "shared_phone": shared and not empty and not broken,
            "archived": patient.archived,
            "guardian": guardian is not None,
        }
        for case, is_so in flags.items():
            if is_so:
                cases.setdefault(case, []).append(key)

    def _before_now(self) -> datetime:
        return sql_datetime(self._moment - timedelta(seconds=self._rng.uniform(60, 400 * 86400)))

    def patient_rows(self, doctors: list[int]) -> Iterator[Row]:
        """Rows of Patients; made last, when the first visits are known."""
        for index, patient in enumerate(self.patients):
            yield self._patient_row(index, patient, doctors)

    def _patient_row(self, index: int, patient: Patient, doctors: list[int]) -> Row:
        rng, treated = self._rng, patient.first_visit
        imported = index % 40 == 5
        refused = rng.random() < 0.08
        if refused:
            self._cases.setdefault("sms_refusal", []).append(patient.key)
        card = (
            None
            if rng.random() < 0.05
            else rng.choice((f"{patient.key}", f"А-{patient.key}", f"0{patient.key}/2"))
        )
        job = rng.choice(names.JOBS) if rng.random() < 0.3 and not patient.guardian else (None, None)
        return self._rows.make(
            "Patients",
            ID_Persons=patient.key,
            FirstVisit=rng.choice((SENTINEL.date(), date(1968, 4, 2))) if imported else None,
            MinStatus=1,
            ParentSNP=patient.guardian,
            JobPlace=job[0] or None,
            Profession=job[1],
            CardNumber=card,
            Comment=rng.choice(names.PATIENT_COMMENTS) if rng.random() < 0.25 else None,
            AdditionalComment=rng.choice(names.ADDITIONAL_COMMENTS) if rng.random() < 0.1 else None,
            ID_InfoSources=rng.randint(1, len(names.INFO_SOURCES)) if rng.random() < 0.7 else None,
            ID_ArchivingReasons=rng.randint(1, len(names.ARCHIVING_REASONS)) if patient.archived else None,
            ID_Staffs=rng.choice(doctors) if rng.random() < 0.5 else None,
            ConformToSending=not refused and rng.random() < 0.8,
            SMSRejection=refused,
            BillIsNecessary=False,
            EGISZRejection=False,
            FirstConsultation=treated,
            FirstTreat=treated,
            ExternalUID=f"OLD-{index}" if imported else None,
            ID_OldProgram=1 if imported else None,
            DateTimeChanged=max(self._before_now(), treated or SENTINEL),
            PatientNumber=card,
            Status=3 if treated else 1,
        )
