"""What amoCRM must hold, derived from the clinic's database alone.

Second opinion on the transfer, written from ``docs`` and the database's schema: it imports no ``tasks``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

from deployments.sandbox.doubts import (
    doubtful_end,
    doubtful_money,
    is_held,
    is_incomplete,
    moment_of,
    phone_of,
    sound_birthday,
    sound_comment,
    sound_email,
    text_of,
)

__all__ = ["Expectation", "ExpectedContact", "ExpectedDeal", "expect"]

Row = Mapping[str, Any]
Rows = Callable[[str], list[dict[str, Any]]]

STATUS_LABELS = {
    "planned": "Запланирован",
    "arrived": "Пациент пришёл",
    "in_progress": "Приём идёт",
    "completed": "Завершён",
    "bill_issued": "Завершён, счёт выдан",
    "cancelled": "Отменён",
}
STAGE_NAMES = {
    "planned": "Запланирован",
    "rescheduled": "Перенесён",
    "arrived": "Пациент пришёл",
    "in_progress": "Приём идёт",
    "completed": "Приём завершён",
    "no_show": "Не пришёл",
    "bill_issued": "Счёт выдан",
    "cancelled": "Отменён",
}
PIPELINE_NAMES = {True: "Первичный приём", False: "Повторный приём"}
NO_SHOW_WORDS = ("не явился", "не явилась", "неявка")


@dataclass(slots=True)
class ExpectedContact:
    """A contact as it must stand in amoCRM; fields by the name an operator sees."""

    patient_id: int
    last_name: str
    first_name: str
    phones: frozenset[str]
    email: str | None
    fields: dict[str, Any]


@dataclass(slots=True)
class ExpectedDeal:
    """A deal as it must stand in amoCRM."""

    root_id: int
    patient_id: int
    name: str
    price: int | None
    pipeline: str
    stage: str
    is_primary: bool
    fields: dict[str, Any]


@dataclass(slots=True)
class Expectation:
    """Everything that amoCRM must hold for one clinic.

    Attributes:
        contacts: Contacts by patient.
        deals: Deals by the root of their reschedule chain.
        invalid_patients: Patients who are kept back, and listed.
        incomplete_patients: Patients whose contact goes without a broken value, and who are listed.
    """

    contacts: dict[int, ExpectedContact] = field(default_factory=dict)
    deals: dict[int, ExpectedDeal] = field(default_factory=dict)
    invalid_patients: set[int] = field(default_factory=set)
    incomplete_patients: set[int] = field(default_factory=set)

    @property
    def listed_patients(self) -> set[int]:
        """Patients whom an analyst must see in the list."""
        return self.invalid_patients | self.incomplete_patients

    @property
    def primaries(self) -> dict[int, bool]:
        """First or repeat visit by deal: frozen when a deal is created."""
        return {root: deal.is_primary for root, deal in self.deals.items()}


def expect(
    rows: Rows,
    timezone: str,
    from_day: date | None,
    *,
    frozen: Mapping[int, bool] | None = None,
    rescheduled: frozenset[int] = frozenset(),
    now: datetime | None = None,
) -> Expectation:
    """Derive what amoCRM must hold.

    Args:
        rows: Returns all rows of a table of the clinic.
        timezone: Zone of the clinic.
        from_day: First day of the launch; ``None`` is all history.
        frozen: First or repeat by deal, from the comparison made when the deals were created.
        rescheduled: Deals whose time changed since they were created.
        now: The clinic's present moment, by which a stamp may be in the future; without it none is.
    """
    source = _Source(rows, ZoneInfo(timezone))
    result = Expectation()
    cards = rows("Patients")
    times = Counter(patient["ID_Persons"] for patient in cards)
    for patient in cards:
        key = patient["ID_Persons"]
        contact = source.contact(patient)
        if contact is None or times[key] > 1 or key <= 0:
            result.invalid_patients.add(key)
        else:
            result.contacts[key] = contact
            if source.lacks_a_value(patient):
                result.incomplete_patients.add(key)
    start = datetime.combine(from_day, time.min) if from_day else None
    for root, chain in source.chains().items():
        inside = start is None or any(
            (moment := moment_of(row["PlanStart"])) is not None and moment >= start for row in chain
        )
        leaf = _leaf(chain)
        if inside and leaf["ID_Patients"] in result.contacts and not source.is_doubtful(leaf, now):
            primary = (frozen or {}).get(root)
            result.deals[root] = source.deal(
                root,
                leaf,
                primary=source.is_primary(leaf) if primary is None else primary,
                moved=root in rescheduled,
            )
    return result


class _Source:
    """The clinic's tables, joined by hand."""

    def __init__(self, rows: Rows, zone: ZoneInfo) -> None:
        self._zone = zone
        self._persons = {row["ID"]: row for row in rows("Persons")}
        self._receptions = rows("Receptions")
        self._times = Counter(row["ID"] for row in self._receptions)
        self._today = datetime.now(tz=zone).date()
        self._by_patient: dict[int, list[Row]] = defaultdict(list)
        for row in self._receptions:
            self._by_patient[row["ID_Patients"]].append(row)
        self._names = {
            table: {row["ID"]: text_of(row["Name"]) for row in rows(table)}
            for table in ("InfoSources", "ArchivingReasons", "ReceptionCancelReasons", "AppointmentSources")
        }
        professions = {row["ID"]: row["NameProfession"] for row in rows("ProfessionNames")}
        self._professions: dict[int, set[str]] = defaultdict(set)
        for row in rows("Items"):
            self._professions[row["ID_Staffs"]].add(professions[row["ID_ProfessionNames"]])
        self._chairs = {row["ID"]: row for row in rows("Armchairs")}
        self._companies = {row["ID"]: row for row in rows("OwnCompanies")}
        self._orders = {row["ID_Receptions"]: row for row in rows("Orders") if row["ID_Receptions"]}
        self._journal = {row["ID_Orders"]: row for row in rows("OrderPaymentsJournal")}
        self._debts: dict[int, Decimal] = defaultdict(Decimal)
        for row in self._journal.values():
            self._debts[row["ID_Patients"]] += Decimal(str(row["Debt"] or 0))
        services = {row["ID"]: row["Name"] for row in rows("ServiceItems")}
        self._prices = {
            row["ID"]: (services[row["ID_ServiceItems"]], Decimal(str(row["Price"])))
            for row in rows("ServiceItemPrices")
        }
        self._lines: dict[int, list[Row]] = defaultdict(list)
        for row in sorted(rows("OrderServiceRelation"), key=lambda row: row["ID"]):
            self._lines[row["ID_Orders"]].append(row)

    def contact(self, patient: Row) -> ExpectedContact | None:
        """Return the contact of a patient, ``None`` for one who does not pass validation."""
        key = patient["ID_Persons"]
        person = self._persons[key]
        phones = [phone_of(person["MobilePhone"]), phone_of(person["Phone"])]
        surname, given = text_of(person["Surname"]), text_of(person["Name"])
        if not (surname or given):
            return None
        visits = [row for row in self._by_patient[key] if not _cancelled(row)]
        done = sorted(
            moment for row in visits if _done(row) and (moment := moment_of(row["PlanStart"])) is not None
        )
        return ExpectedContact(
            patient_id=key,
            last_name=surname or "",
            first_name=" ".join(part for part in (given, text_of(person["Patronymic"])) if part),
            phones=frozenset(phone for phone in phones if phone),
            email=sound_email(person["Email"]),
            fields={
                "IDENT: Дата рождения": sound_birthday(person["Birthday"], self._today),
                "IDENT: Пол": {1: "Мужской", 2: "Женский"}.get(person["Sex"]),
                "IDENT: Город": text_of(person["City"]),
                "IDENT: Номер карты": text_of(patient["CardNumber"]),
                "IDENT: Законный представитель": text_of(patient["ParentSNP"]),
                "IDENT: Комментарий к пациенту": sound_comment(patient["Comment"]),
                "IDENT: Источник рекламы": self._names["InfoSources"].get(patient["ID_InfoSources"]),
                "IDENT: Лечащий врач": self._doctor(patient["ID_Staffs"]),
                "IDENT: В архиве": patient["ID_ArchivingReasons"] is not None,
                "IDENT: Причина архивации": self._names["ArchivingReasons"].get(
                    patient["ID_ArchivingReasons"]
                ),
                "IDENT: Отказ от СМС": bool(patient["SMSRejection"]),
                "IDENT: Первый визит": self._epoch(done[0]) if done else None,
                "IDENT: Последний визит": self._epoch(done[-1]) if done else None,
                "IDENT: Завершённых приёмов": Decimal(len(done)),
                "IDENT: Всего приёмов": Decimal(len(visits)),
                "IDENT: Долг пациента": _money(self._debts[key]),
            },
        )

    def lacks_a_value(self, patient: Row) -> bool:
        """Tell whether a patient's card has a value that is not passed on."""
        return is_incomplete(self._persons[patient["ID_Persons"]], patient, self._today)

    def is_doubtful(self, row: Row, now: datetime | None) -> bool:
        """Tell whether an appointment is kept back."""
        return self._times[row["ID"]] > 1 or is_held(row, now)

    def chains(self) -> dict[int, list[Row]]:
        """Return receptions by the root of their reschedule chain."""
        parents = {row["ID"]: row["ID_ReceptionsTransferFrom"] for row in self._receptions}
        chains: dict[int, list[Row]] = defaultdict(list)
        for row in self._receptions:
            root = row["ID"]
            while parents.get(root, root) not in {None, root}:
                root = parents[root]
            chains[root].append(row)
        return chains

    def is_primary(self, row: Row) -> bool:
        """Tell whether no other completed visit of the patient began earlier."""
        start = moment_of(row["PlanStart"])
        return not any(
            _done(other)
            and not _cancelled(other)
            and other["ID"] != row["ID"]
            and (moment := moment_of(other["PlanStart"])) is not None
            and start is not None
            and moment < start
            for other in self._by_patient[row["ID_Patients"]]
        )

    def deal(self, root: int, row: Row, *, primary: bool, moved: bool) -> ExpectedDeal:
        """Return the deal of a chain whose latest row is given."""
        status = _status(row)
        reason = self._names["ReceptionCancelReasons"].get(row["ID_ReceptionCancelReasons"])
        no_show = status == "cancelled" and (
            (
                row["ID_StaffsReceptionCanceled"] is None
                and row["ReceptionCanceled"] is not None
                and moment_of(row["ReceptionCanceled"]) == moment_of(row["PlanEnd"])
            )
            or any(word in (reason or "").casefold() for word in NO_SHOW_WORDS)
        )
        key = "no_show" if no_show else "rescheduled" if moved and status == "planned" else status
        amount, _paid, _debt, _services = self._money(row["ID"])
        doctor = self._doctor(row["ID_Staffs"])
        start = moment_of(row["PlanStart"])
        name = f"Приём {start:%d.%m.%Y %H:%M}" + (f" · {_initials(doctor)}" if doctor else "")
        return ExpectedDeal(
            root_id=root,
            patient_id=row["ID_Patients"],
            name=name,
            price=None if amount is None else int(amount.quantize(Decimal(1), ROUND_HALF_UP)),
            pipeline=PIPELINE_NAMES[primary],
            stage=STAGE_NAMES[key],
            is_primary=primary,
            fields=self._deal_fields(row, status, reason, no_show=no_show, primary=primary),
        )

    def _deal_fields(
        self, row: Row, status: str, reason: str | None, *, no_show: bool, primary: bool
    ) -> dict[str, Any]:
        amount, paid, debt, services = self._money(row["ID"])
        return {
            "IDENT: Начало приёма": self._epoch(row["PlanStart"]),
            "IDENT: Окончание приёма": None if doubtful_end(row) else self._epoch(row["PlanEnd"]),
            "IDENT: Статус приёма": STATUS_LABELS[status],
            "IDENT: Пациент пришёл": self._epoch(row["PatientAppeared"]),
            "IDENT: Приём начат": self._epoch(row["ReceptionStarted"]),
            "IDENT: Приём завершён": self._epoch(row["ReceptionEnded"]),
            "IDENT: Счёт выдан": self._epoch(row["CheckIssued"]),
            "IDENT: Отменён": self._epoch(row["ReceptionCanceled"]),
            "IDENT: Причина отмены": reason,
            "IDENT: Комментарий к отмене": text_of(row["CancelReasonComment"]),
            "IDENT: Не пришёл": no_show,
            "IDENT: Врач": self._doctor(row["ID_Staffs"]),
            "IDENT: Специальность": ", ".join(sorted(self._professions[row["ID_Staffs"]])) or None,
            "IDENT: Кабинет": text_of((self._chairs.get(row["ID_Armchairs"]) or {}).get("NameArmchair")),
            "IDENT: Филиал": self._branch(row),
            "IDENT: Услуги": services,
            "IDENT: Сумма счёта": amount,
            "IDENT: Оплачено": paid,
            "IDENT: Долг по приёму": debt,
            "IDENT: Комментарий к приёму": sound_comment(row["Comment"]),
            "IDENT: Источник записи": self._names["AppointmentSources"].get(row["ID_AppointmentSources"]),
            "IDENT: Вид приёма": "Первичный" if primary else "Повторный",
            "IDENT: Запись создана": self._epoch(moment_of(row["ReceptionAdded"]) or row["DateTimeAdded"]),
        }

    def _money(self, reception: int) -> tuple[Decimal | None, Decimal | None, Decimal | None, str | None]:
        order = self._orders.get(reception)
        if order is None:
            return None, None, None, None
        lines = self._lines[order["ID"]]
        total = Decimal()
        names: list[str] = []
        for line in lines:
            name, price = self._prices[line["ID_ServicePrices"]]
            count = line["CountService"]
            names.append(name if count == 1 else f"{name} ×{count}")
            total += count * price - Decimal(str(line["DiscountSum"] or 0))
        services = "; ".join(names) or None
        journal = self._journal.get(order["ID"])
        if journal is None:
            return (_money(total) if lines else None), None, None, services
        amount, debt = Decimal(str(journal["AmountWithDiscount"])), Decimal(str(journal["Debt"]))
        sums = (_money(amount), _money(amount - debt), _money(debt))
        doubts = doubtful_money(amount, debt)
        told = [None if doubt else value for value, doubt in zip(sums, doubts, strict=True)]
        return told[0], told[1], told[2], services

    def _branch(self, row: Row) -> str | None:
        order = self._orders.get(row["ID"]) or {}
        chair = self._chairs.get(row["ID_Armchairs"]) or {}
        key = order.get("ID_OwnCompanies") or chair.get("ID_OwnCompanies")
        company = self._companies.get(key)
        if company is None:
            return None
        return text_of(company["BranchName"]) or text_of(company["Name"]) or f"Филиал {key}"

    def _doctor(self, key: int | None) -> str | None:
        person = self._persons.get(key) if key is not None else None
        if person is None:
            return None
        parts = (text_of(person[name]) for name in ("Surname", "Name", "Patronymic"))
        return " ".join(part for part in parts if part) or None

    def _epoch(self, value: object) -> int | None:
        moment = moment_of(value)
        return None if moment is None else int(moment.replace(tzinfo=self._zone).timestamp())


def _leaf(chain: list[Row]) -> Row:
    replaced = {row["ID_ReceptionsTransferFrom"] for row in chain}
    return min(chain, key=lambda row: (row["ID"] in replaced, _cancelled(row), -row["ID"]))


def _cancelled(row: Row) -> bool:
    return moment_of(row["ReceptionCanceled"]) is not None or row["ID_ReceptionCancelReasons"] is not None


def _done(row: Row) -> bool:
    return moment_of(row["ReceptionEnded"]) is not None or moment_of(row["CheckIssued"]) is not None


def _status(row: Row) -> str:
    if _cancelled(row):
        return "cancelled"
    for column, status in (
        ("CheckIssued", "bill_issued"),
        ("ReceptionEnded", "completed"),
        ("ReceptionStarted", "in_progress"),
        ("PatientAppeared", "arrived"),
    ):
        if moment_of(row[column]) is not None:
            return status
    return "planned"


def _initials(doctor: str) -> str:
    surname, *others = doctor.split()
    return " ".join([surname, *(f"{part[0]}." for part in others)])


def _money(value: Decimal) -> Decimal:
    return value.quantize(Decimal("0.01"), ROUND_HALF_UP)
