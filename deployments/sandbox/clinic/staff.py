"""What a clinic has before its first patient: dictionaries, branches, chairs, doctors, services, the grid."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal

from deployments.sandbox.clinic import names
from deployments.sandbox.clinic.rows import Row, RowFactory, sql_datetime
from deployments.sandbox.clinic.schema import SCALE

_DAY_START = datetime(2000, 1, 1)  # noqa: DTZ001 - only its times of day are used


@dataclass(frozen=True)
class Staff:
    """Who works where."""

    doctors_of_chair: dict[int, list[int]]
    branch_of_chair: dict[int, int]
    administrators: list[int]
    last_key: int

    @property
    def doctors(self) -> list[int]:
        """Every working doctor."""
        return sorted({doctor for doctors in self.doctors_of_chair.values() for doctor in doctors})

    @property
    def chairs(self) -> list[int]:
        """Every chair."""
        return sorted(self.branch_of_chair)

    def doctor(self, chair: int, day: date) -> int:
        """Who works at the chair that day; doctors sharing a chair take turns."""
        doctors = self.doctors_of_chair[chair]
        return doctors[day.toordinal() % len(doctors)]


def plan_staff(branches: int, chairs_each: int) -> Staff:
    """Number the staff: doctors first, then one archived doctor, then two administrators a branch."""
    chairs = {number: 1 + (number - 1) // chairs_each for number in range(1, branches * chairs_each + 1)}
    doctors: dict[int, list[int]] = {}
    key = 0
    for chair in chairs:
        # The first chair of a branch is shared by two doctors.
        shift = 2 if (chair - 1) % chairs_each == 0 else 1
        doctors[chair] = list(range(key + 1, key + shift + 1))
        key += shift
    administrators = list(range(key + 2, key + 2 + 2 * branches))
    return Staff(doctors, chairs, administrators, administrators[-1])


def staff_rows(
    staff: Staff, rng: random.Random, rows: RowFactory, moment: datetime
) -> Iterator[tuple[str, Row]]:
    """Rows of Persons, Staffs and Items."""
    item = 0
    for key in range(1, staff.last_key + 1):
        administrator = key in staff.administrators
        surname, first, patronymic, professions = names.DOCTORS[(key - 1) % len(names.DOCTORS)]
        if administrator or key > len(names.DOCTORS):
            surname, first = rng.choice(names.SURNAMES)[1], rng.choice(names.FEMALE_NAMES)
            patronymic = rng.choice(names.PATRONYMICS)[1]
        changed = sql_datetime(moment - timedelta(days=500))
        yield (
            "Persons",
            rows.make(
                "Persons", ID=key, Surname=surname, Name=first, Patronymic=patronymic, DateTimeChanged=changed
            ),
        )
        yield (
            "Staffs",
            rows.make("Staffs", ID_Persons=key, Archive=key not in staff.doctors and not administrator),
        )
        for profession in (names.ADMINISTRATOR_PROFESSION,) if administrator else professions:
            item += 1
            yield "Items", rows.make("Items", ID=item, ID_Staffs=key, ID_ProfessionNames=profession)


def _named(rows: RowFactory, table: str, labels: tuple[str, ...]) -> Iterator[tuple[str, Row]]:
    for key, label in enumerate(labels, start=1):
        extra = {} if table == "DiscountGroupMembers" else {"Archive": False}
        yield table, rows.make(table, ID=key, Name=label, **extra)


def price_list() -> list[Decimal]:
    """Prices as IDENT keeps them; the service with id n is at n - 1, the imported one is last."""
    return [Decimal(price).quantize(SCALE) for _, price in (*names.SERVICES, names.IMPORTED_SERVICE)]


def dictionary_rows(rows: RowFactory) -> Iterator[tuple[str, Row]]:
    """Rows of the dictionaries, the price list and the quarters of a day."""
    yield from _named(rows, "InfoSources", names.INFO_SOURCES)
    yield from _named(rows, "ArchivingReasons", names.ARCHIVING_REASONS)
    yield from _named(rows, "ReceptionCancelReasons", names.CANCEL_REASONS)
    yield from _named(rows, "AppointmentSources", names.APPOINTMENT_SOURCES)
    yield from _named(rows, "DiscountGroupMembers", names.DISCOUNT_GROUPS)
    for key, label, role in names.PROFESSIONS:
        yield (
            "ProfessionNames",
            rows.make("ProfessionNames", ID=key, NameProfession=label, ID_Roles=role, Archive=False),
        )
    services = (*names.SERVICES, names.IMPORTED_SERVICE)
    for key, ((label, _), price) in enumerate(zip(services, price_list(), strict=True), start=1):
        goods = label in names.GOODS or key == len(services)
        yield "ServiceItems", rows.make("ServiceItems", ID=key, Name=label, NotAService=goods)
        yield (
            "ServiceItemPrices",
            rows.make(
                "ServiceItemPrices",
                ID=key,
                ID_ServiceItems=key,
                Price=price,
                ID_ServicePriceGroups=1,
                DateTimeFrom=datetime(2020, 1, 1),  # noqa: DTZ001 - clinic-local
            ),
        )
    for quarter in range(96):
        start = _DAY_START + timedelta(minutes=15 * quarter)
        end: time = (start + timedelta(minutes=15)).time()
        yield "Times", rows.make("Times", ID=quarter + 1, TimeStartValue=start.time(), TimeEndValue=end)


def branch_rows(staff: Staff, rows: RowFactory) -> Iterator[tuple[str, Row]]:
    """Rows of OwnCompanies and Armchairs; the last branch has no name of its own when there are several."""
    branches = sorted(set(staff.branch_of_chair.values()))
    for branch in branches:
        label = names.BRANCHES[(branch - 1) % len(names.BRANCHES)]
        named = branch < 3 or branch != branches[-1]
        yield (
            "OwnCompanies",
            rows.make(
                "OwnCompanies",
                ID=branch,
                Name=f"ООО «Демо-Дент {branch}»",
                BranchName=f"Демо-Дент {label}" if named else None,
            ),
        )
    for chair, branch in staff.branch_of_chair.items():
        yield (
            "Armchairs",
            rows.make(
                "Armchairs", ID=chair, NameArmchair=f"Кабинет {chair}", ID_OwnCompanies=branch, Archive=False
            ),
        )
