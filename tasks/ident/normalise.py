"""From what IDENT stores to canonical values.

Rules and their sources: statuses from a production integration (first match wins), the no-show rule from
real rows, sentinel dates from rows imported out of older programs, phone spellings as clinics type them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd
import phonenumbers
import pyarrow as pa
import pyarrow.compute as pc

from tasks.frames import MONEY, Status, text_column

__all__ = [
    "amount",
    "amounts",
    "birthday",
    "days",
    "flags",
    "instants",
    "local_times",
    "money",
    "no_shows",
    "phone",
    "sex",
    "shown",
    "statuses",
    "text",
    "texts",
]

SENTINEL: Final = pd.Timestamp("1900-01-02")
LAST_BELIEVABLE: Final = pd.Timestamp("2200-01-01")
NO_PHONE: Final = frozenset({"", "-", "--", "—", "–", "нет", "0", "н/д"})
SEPARATORS: Final = re.compile(r"[,;/\n]|\sи\s")
#: More digits than a Russian number has, without its 7 or 8: a country code whose plus was lost, as a column
#: of numbers loses it.
PLUS_LOST: Final = re.compile(r"(?:[1-69]\d{10}|\d{12,15})")
#: A Russian mobile number as most are typed, without what may stand between its digits: the library takes its
#: time, and finds the same. Of other codes, and those beginning with 93, not every number is in use.
MOBILE: Final = re.compile(r"(?:\+7|[78])?(9[0-24-9][0-9]{8})")
BETWEEN: Final = str.maketrans("", "", " ()-")
NO_SHOW_WORDS: Final = ("не явился", "не явилась", "неявка")
#: What most columns hold; these need no look at every single value.
TEXT_OR_NOTHING: Final = {str, type(None)}
TIME_OR_NOTHING: Final = {datetime, type(None)}
#: IDENT keeps ten decimals; the rest is room for a count that is no whole number.
AMOUNT: Final = pa.decimal128(36, 14)
NO_MONEY: Final = pa.scalar(Decimal(), AMOUNT)
#: Codes seen in one source only; anything else is left out rather than guessed.
SEXES: Final = {
    **dict.fromkeys(("1", "м", "муж", "мужской", "m", "male"), "male"),
    **dict.fromkeys(("2", "ж", "жен", "женский", "f", "female"), "female"),
}


def text(value: object) -> str | None:
    """Return a text without surrounding space, in one Unicode form; nothing for an empty one."""
    if value is None:
        return None
    return unicodedata.normalize("NFC", str(value)).strip() or None


def texts(values: Sequence[object]) -> pd.Series:
    """Clean a column of texts, each of them once however often it stands there."""
    if set(map(type, values)) <= TEXT_OR_NOTHING:
        cleaned = {value: text(value) for value in set(values)}
        return shown([cleaned[value] for value in values])
    return shown([text(value) for value in values])


def shown(values: Sequence[str | None]) -> pd.Series:
    """Return a column of texts that are clean."""
    return text_column(pa.array(values, type=pa.large_string()))


@lru_cache(maxsize=200_000)
def phone(value: str | float | Decimal | None, region: str = "RU") -> str | None:
    """Return a phone in E.164.

    What is there but cannot be read as a phone is returned as it is, so that validation rejects it with a
    reason instead of losing it in silence.

    Args:
        value: As typed, or as a number in some versions of IDENT.
        region: Country of numbers without a country code.
    """
    if isinstance(value, float | Decimal) and value == int(value):
        value = int(value)  # a numeric column
    typed = text(value)
    if typed is None or typed.casefold() in NO_PHONE:
        return None
    if region == "RU" and (mobile := MOBILE.fullmatch(typed.translate(BETWEEN))):
        return f"+7{mobile[1]}"
    foreign = [f"+{typed}"] if PLUS_LOST.fullmatch(typed) else []
    for candidate in dict.fromkeys((typed, *SEPARATORS.split(typed), *foreign)):
        try:
            number = phonenumbers.parse(candidate, region)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(number):
            return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    # Whose number it is stands behind it («8916… мама»), or several stand side by side.
    for match in phonenumbers.PhoneNumberMatcher(typed, region):
        return phonenumbers.format_number(match.number, phonenumbers.PhoneNumberFormat.E164)
    return typed


@lru_cache(maxsize=200_000)
def birthday(value: object) -> datetime | None:
    """Return a birthday as midnight; its column is a date, a datetime or a text, by version."""
    if value is None:
        return None
    if isinstance(value, datetime):
        return value.replace(hour=0, minute=0, second=0, microsecond=0)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001 - a calendar day
    # A time of day may follow.
    day = re.split(r"[T\s]", str(value).strip())[0][:10]
    for form in ("%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y"):
        try:
            return datetime.strptime(day, form)  # noqa: DTZ007 - a calendar day
        except ValueError:
            continue
    return None


def days(values: Sequence[object]) -> pd.Series:
    """Return birthdays; sentinels and nonsense years are left for validation, which says so."""
    parsed = pd.Series([birthday(value) for value in values], dtype=object)
    return parsed.astype("datetime64[us]")


def local_times(values: Sequence[object]) -> pd.Series:
    """Return clinic-local times; sentinels of older programs and nonsense years count as missing.

    Args:
        values: Times, or texts as SQLite keeps them.
    """
    stamps = _stamps(values)
    if stamps is not None:
        return _believable(pd.Series(stamps.to_numpy(zero_copy_only=False)))
    column = pd.Series(pd.to_datetime(pd.Series(list(values), dtype=object), errors="coerce"))
    return _believable(column.astype("datetime64[us]"))


def _stamps(values: Sequence[object]) -> pa.TimestampArray | None:
    """Return times as Arrow reads them, many times as fast as numpy or pandas, where it can."""
    types = set(map(type, values))
    if types <= TIME_OR_NOTHING:
        return pa.array(values, type=pa.timestamp("us"))
    if types <= TEXT_OR_NOTHING:
        with suppress(pa.ArrowInvalid):
            return pa.array(values, type=pa.string()).cast(pa.timestamp("us"))
    return None


def _believable(column: pd.Series) -> pd.Series:
    kept: pd.Series = column.where((column > SENTINEL) & (column < LAST_BELIEVABLE))
    return kept


def instants(local: pd.Series, zone: ZoneInfo) -> pd.Series:
    """Apply the clinic's zone at each event's own date.

    An hour that happens twice counts as its first time; one that is skipped moves forward.
    """
    first = np.ones(len(local), dtype=bool)
    placed = local.dt.tz_localize(zone, ambiguous=first, nonexistent="shift_forward")
    converted: pd.Series = placed.dt.tz_convert("UTC")
    return converted.astype("datetime64[us, UTC]")


def amount(value: Any) -> Decimal | None:
    """Return an exact amount, whatever the driver made of it."""
    return value if value is None or isinstance(value, Decimal) else Decimal(str(value))


def amounts(values: Sequence[Any]) -> pa.Array:
    """Return a column of exact amounts."""
    if set(map(type, values)) <= TEXT_OR_NOTHING:
        return pa.array(values, type=pa.string()).cast(AMOUNT)
    return pa.array([amount(value) for value in values], type=AMOUNT)


def money(values: pa.Array | Sequence[Any]) -> pd.Series:
    """Return roubles, rounded half up to kopecks."""
    exact = values if isinstance(values, pa.Array) else amounts(values)
    rounded = pc.round(exact, ndigits=2, round_mode="half_towards_infinity")
    return pd.Series(pd.array(rounded.cast(MONEY.pyarrow_dtype), dtype=MONEY))


def flags(values: Sequence[Any]) -> pd.Series:
    """Return bits; missing is no."""
    return pd.Series([bool(value) for value in values], dtype=bool)


def sex(values: Sequence[Any]) -> pd.Series:
    """Return ``male``, ``female`` or nothing."""
    return shown(
        [None if value is None else SEXES.get(str(value).strip(" .").casefold()) for value in values]
    )


def statuses(times: Callable[[str], pd.Series], reason_ids: pd.Series) -> pd.Series:
    """Return the status of each appointment; the first rule that fits wins.

    Args:
        times: Returns a column of local times by its name in IDENT.
        reason_ids: Cancel reasons; a cancelled reception may have only this.
    """
    rules: list[npt.NDArray[np.bool_]] = [
        (times("ReceptionCanceled").notna() | reason_ids.notna()).to_numpy(),
        times("CheckIssued").notna().to_numpy(),
        times("ReceptionEnded").notna().to_numpy(),
        times("ReceptionStarted").notna().to_numpy(),
        times("PatientAppeared").notna().to_numpy(),
    ]
    names = [
        Status.CANCELLED,
        Status.BILL_ISSUED,
        Status.COMPLETED,
        Status.IN_PROGRESS,
        Status.ARRIVED,
    ]
    chosen = np.select(rules, [name.value for name in names], default=Status.PLANNED.value)
    return pd.Series(chosen, dtype="str")


def no_shows(
    status: pd.Series,
    cancelled_at: pd.Series,
    planned_end: pd.Series,
    canceller: pd.Series,
    reasons: pd.Series,
    reason_ids: pd.Series,
    no_show_ids: Collection[int],
) -> pd.Series:
    """Tell who simply did not come.

    IDENT closes an unattended reception by itself: no canceller, cancelled exactly at its planned end. A
    clinic may also have a reason for it, by id (a setting) or by name.
    """
    by_itself = canceller.isna() & cancelled_at.notna() & (cancelled_at == planned_end)
    named = reasons.fillna("").str.casefold()
    by_name = named.str.contains("|".join(NO_SHOW_WORDS), regex=True)
    found: pd.Series = (status == Status.CANCELLED.value) & (
        by_itself | by_name | reason_ids.isin(list(no_show_ids))
    )
    return found.astype(bool)
