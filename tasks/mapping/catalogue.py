"""The default card: for every datum its Russian name, amoCRM type and policy; for every stage its name.

Kept as data, so that the form of an operator, autoconfiguration and the reference page say the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final, Literal

from tasks.frames import Status
from tasks.mapping.model import NullPolicy, Policy, StageKey

__all__ = [
    "CONTACT_CARD",
    "CONTACT_EXTERNAL",
    "LEAD_CARD",
    "LEAD_EXTERNAL",
    "LIST_DATA",
    "LIST_SEPARATOR",
    "LOST_NAME",
    "OPEN_DATA",
    "PIPELINES",
    "PRIMARY_LABELS",
    "SEX_LABELS",
    "SHARING",
    "SPECIAL",
    "SPECIAL_NOTE",
    "STAGES",
    "STATUS_LABELS",
    "STATUS_NAMES",
    "TYPE_NAMES",
    "WON_NAME",
    "DefaultStage",
    "FieldDefault",
]

SEX_LABELS: Final = {"male": "Мужской", "female": "Женский"}
STATUS_LABELS: Final = {
    Status.PLANNED.value: "Запланирован",
    Status.ARRIVED.value: "Пациент пришёл",
    Status.IN_PROGRESS.value: "Приём идёт",
    Status.COMPLETED.value: "Завершён",
    Status.BILL_ISSUED.value: "Завершён, счёт выдан",
    Status.CANCELLED.value: "Отменён",
}
PRIMARY_LABELS: Final = {True: "Первичный", False: "Повторный"}
#: How names of our fields begin, so that they stand together in amoCRM's card.
PREFIX: Final = "IDENT: "

#: Types that can hold what the first one was made for, by that type.
FITTING: Final[dict[str, tuple[str, ...]]] = {
    "text": ("textarea",),
    "select": ("radiobutton", "multiselect", "text"),
    "birthday": ("date",),
}
MONEY_DATA: Final = frozenset({"amount", "paid", "debt"})
#: Names of people and things of the clinic: a list field may hold them, its options are added as they come.
OPEN_DATA: Final = frozenset(
    {
        "ad_source",
        "archive_reason",
        "attending_doctor",
        "branch",
        "cabinet",
        "cancel_reason",
        "city",
        "doctor",
        "source",
        "speciality",
    }
)
#: What is a list in IDENT too, joined by this: each part is an option of its own in a multiselect.
LIST_SEPARATOR: Final = ", "
LIST_DATA: Final = frozenset({"speciality"})
#: Data that may share one field: their values stand side by side in it.
SHARING: Final[tuple[frozenset[str], ...]] = (frozenset({"phone_mobile", "phone_other"}),)
#: amoCRM's types as an operator reads them.
TYPE_NAMES: Final[dict[str, str]] = {
    "builtin": "поле карточки",
    "text": "текст",
    "textarea": "текстовая область",
    "numeric": "число",
    "monetary": "деньги",
    "checkbox": "флаг",
    "select": "список",
    "multiselect": "мультисписок",
    "radiobutton": "переключатель",
    "date": "дата",
    "date_time": "дата и время",
    "birthday": "день рождения",
    "multitext": "телефон или почта",
}


Builtin = Literal["first_name", "last_name", "name", "price"]


@dataclass(frozen=True, slots=True)
class FieldDefault:
    """Default place of one datum.

    Attributes:
        datum: Name in ``CONTACT_DATA`` or ``LEAD_DATA``.
        name: Name of the field an operator sees.
        type: amoCRM's field type; ``builtin`` for an attribute of the card.
        builtin: Which attribute.
        code: Code of the field; a predefined one (PHONE, EMAIL) is never created.
        policy: Who wins.
        null_policy: Whether an emptied value empties the field.
        options: Options of a select.
        enum_code: Kind of phone or e-mail.
        api_only: Whether a person may edit the field in amoCRM.
        required: Whether it must be transferred; marked * in the forms.
        special: Whether it tells of health or treatment: not transferred unless a person chose it.
    """

    datum: str
    name: str
    type: str
    builtin: Builtin | None = None
    code: str = ""
    policy: Policy = Policy.OVERWRITE
    null_policy: NullPolicy = NullPolicy.CLEAR
    options: tuple[str, ...] = ()
    enum_code: str | None = None
    api_only: bool = False
    required: bool = False
    special: bool = False

    @property
    def fitting(self) -> tuple[str, ...]:
        """Types of amoCRM's fields that can hold the datum; the first is the one we create."""
        others: tuple[str, ...] = FITTING.get(self.type, ())
        if self.datum in MONEY_DATA:
            others = ("monetary",)
        if self.datum in OPEN_DATA:
            others = (*others, "select", "multiselect", "radiobutton")
        return (self.type, *others)

    def owns(self, code: str | None) -> bool:
        """Tell whether a field of this code was made for the datum; a number follows where it was taken."""
        return bool(code) and re.fullmatch(rf"{re.escape(self.code)}(_\d+)?", code or "") is not None

    @property
    def title(self) -> str:
        """What the datum is called where a person chooses: without our prefix."""
        return self.name.removeprefix(PREFIX)


def _field(
    datum: str,
    name: str,
    kind: str,
    policy: Policy = Policy.OVERWRITE,
    options: tuple[str, ...] = (),
    entity: str = "PATIENT",
) -> FieldDefault:
    code = f"IDENT_{entity}_{datum.upper()}"
    return FieldDefault(datum, name, kind, code=code, policy=policy, options=options)


def _deal(
    datum: str,
    name: str,
    kind: str,
    policy: Policy = Policy.OVERWRITE,
    options: tuple[str, ...] = (),
) -> FieldDefault:
    return _field(datum, name, kind, policy, options, entity="APPOINTMENT")


def _builtin(datum: Builtin, name: str, policy: Policy, *, required: bool = True) -> FieldDefault:
    return FieldDefault(
        datum, name, "builtin", datum, policy=policy, null_policy=NullPolicy.KEEP, required=required
    )


def _special(default: FieldDefault) -> FieldDefault:
    """Mark what tells, or easily tells, of a person's health: a special category (152-FZ art. 10)."""
    return replace(default, special=True)


_YIELD = Policy.OVERWRITE_UNLESS_EDITED

CONTACT_EXTERNAL: Final = FieldDefault(
    "external_id", "IDENT: ID пациента", "text", code="IDENT_PATIENT_ID", api_only=True
)
LEAD_EXTERNAL: Final = FieldDefault(
    "external_id", "IDENT: ID приёма", "text", code="IDENT_APPOINTMENT_ID", api_only=True
)

CONTACT_CARD: Final[tuple[FieldDefault, ...]] = (
    _builtin("last_name", "Фамилия", _YIELD),
    _builtin("first_name", "Имя и отчество", _YIELD),
    FieldDefault("phone_mobile", "Телефон", "multitext", code="PHONE", enum_code="MOB", required=True),
    FieldDefault("phone_other", "Телефон (другой)", "multitext", code="PHONE", enum_code="OTHER"),
    FieldDefault("email", "Email", "multitext", code="EMAIL", enum_code="WORK"),
    _field("birth_date", "IDENT: Дата рождения", "birthday"),
    _field("sex", "IDENT: Пол", "select", options=tuple(SEX_LABELS.values())),
    _field("city", "IDENT: Город", "text"),
    _field("card_number", "IDENT: Номер карты", "text"),
    _field("guardian_name", "IDENT: Законный представитель", "text"),
    _special(_field("comment", "IDENT: Комментарий к пациенту", "textarea", _YIELD)),
    _field("ad_source", "IDENT: Источник рекламы", "text"),
    _field("attending_doctor", "IDENT: Лечащий врач", "text"),
    _field("archived", "IDENT: В архиве", "checkbox"),
    _field("archive_reason", "IDENT: Причина архивации", "text"),
    _field("sms_opt_out", "IDENT: Отказ от СМС", "checkbox"),
    _field("first_visit_at", "IDENT: Первый визит", "date_time"),
    _field("last_visit_at", "IDENT: Последний визит", "date_time"),
    _field("visits_completed", "IDENT: Завершённых приёмов", "numeric"),
    _field("visits_total", "IDENT: Всего приёмов", "numeric"),
    _field("debt", "IDENT: Долг пациента", "numeric"),
)

LEAD_CARD: Final[tuple[FieldDefault, ...]] = (
    _builtin("name", "Название сделки", _YIELD),
    _builtin("price", "Бюджет", Policy.OVERWRITE, required=False),
    replace(_deal("start_at", "IDENT: Начало приёма", "date_time"), required=True),
    _deal("end_at", "IDENT: Окончание приёма", "date_time"),
    _deal("status", "IDENT: Статус приёма", "select", options=tuple(STATUS_LABELS.values())),
    _deal("arrived_at", "IDENT: Пациент пришёл", "date_time"),
    _deal("started_at", "IDENT: Приём начат", "date_time"),
    _deal("ended_at", "IDENT: Приём завершён", "date_time"),
    _deal("bill_issued_at", "IDENT: Счёт выдан", "date_time"),
    _deal("cancelled_at", "IDENT: Отменён", "date_time"),
    _deal("cancel_reason", "IDENT: Причина отмены", "text"),
    _special(_deal("cancel_comment", "IDENT: Комментарий к отмене", "textarea")),
    _deal("is_no_show", "IDENT: Не пришёл", "checkbox"),
    _deal("doctor", "IDENT: Врач", "text"),
    _special(_deal("speciality", "IDENT: Специальность", "text")),
    _deal("cabinet", "IDENT: Кабинет", "text"),
    _deal("branch", "IDENT: Филиал", "text"),
    _special(_deal("services", "IDENT: Услуги", "textarea")),
    _deal("amount", "IDENT: Сумма счёта", "numeric"),
    _deal("paid", "IDENT: Оплачено", "numeric"),
    _deal("debt", "IDENT: Долг по приёму", "numeric"),
    _special(_deal("comment", "IDENT: Комментарий к приёму", "textarea", _YIELD)),
    _deal("source", "IDENT: Источник записи", "text"),
    _deal("is_primary", "IDENT: Вид приёма", "select", options=tuple(PRIMARY_LABELS.values())),
    _deal("created_at", "IDENT: Запись создана", "date_time"),
)


#: Keys of the data that are not transferred unless a person chose them.
SPECIAL: Final = frozenset(
    f"{card}.{default.datum}"
    for card, defaults in (("contact", CONTACT_CARD), ("lead", LEAD_CARD))
    for default in defaults
    if default.special
)
#: What choosing one of them means, where it is chosen.
SPECIAL_NOTE: Final = (
    "сведения о здоровье и лечении — особая категория (152-ФЗ, ст. 10). Передавайте, только если их "
    "охватывает подтверждённое основание: их увидят пользователи amoCRM"
)


@dataclass(frozen=True, slots=True)
class DefaultStage:
    """Default stage of both pipelines: amoCRM allows only its own 21 colours."""

    key: StageKey
    name: str
    sort: int
    color: str


STAGES: Final[tuple[DefaultStage, ...]] = (
    DefaultStage(StageKey.PLANNED, "Запланирован", 20, "#98cbff"),
    DefaultStage(StageKey.RESCHEDULED, "Перенесён", 30, "#ffeab2"),
    DefaultStage(StageKey.ARRIVED, "Пациент пришёл", 40, "#d6eaff"),
    DefaultStage(StageKey.IN_PROGRESS, "Приём идёт", 50, "#ebffb1"),
    DefaultStage(StageKey.COMPLETED, "Приём завершён", 60, "#87f2c0"),
    DefaultStage(StageKey.NO_SHOW, "Не пришёл", 70, "#ffc8c8"),
)
#: Names of the closing stages (142 and 143) of both pipelines.
WON_NAME: Final = "Счёт выдан"
LOST_NAME: Final = "Отменён"
#: Names of the pipelines for first and repeat visits.
PIPELINES: Final = {True: "Первичный приём", False: "Повторный приём"}
#: What an operator chooses a stage for, in the order of an appointment's life.
STATUS_NAMES: Final[dict[StageKey, str]] = {
    StageKey.PLANNED: "Запланирован",
    StageKey.RESCHEDULED: "Перенесён",
    StageKey.ARRIVED: "Пациент пришёл",
    StageKey.IN_PROGRESS: "Приём идёт",
    StageKey.COMPLETED: "Приём завершён",
    StageKey.BILL_ISSUED: "Счёт выдан",
    StageKey.CANCELLED: "Отменён",
    StageKey.NO_SHOW: "Не пришёл",
    StageKey.GONE: "Удалён в IDENT",
}
