"""What a careful reader of the clinic's database would not pass on: the second opinion on its quality.

Written from ``docs/ru/quality.md`` alone, like ``expected``; it imports nothing from ``expectations``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import phonenumbers

__all__ = [
    "day_of",
    "doubtful_end",
    "doubtful_money",
    "is_held",
    "is_incomplete",
    "moment_of",
    "phone_of",
    "sound_birthday",
    "sound_comment",
    "sound_email",
    "text_of",
]

Row = Mapping[str, Any]

SENTINEL = datetime(1900, 1, 2)  # noqa: DTZ001 - clinic-local
LONGEST = timedelta(hours=12)
FURTHEST = timedelta(days=730)
#: How far a stamp may be ahead of the server's clock.
AHEAD = timedelta(hours=12)
OLDEST_YEARS = 120
LONGEST_TEXT = 3000
COURSE = ("PatientAppeared", "ReceptionStarted", "ReceptionEnded", "CheckIssued")
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def text_of(value: object) -> str | None:
    """Return a text without surrounding space, nothing for an empty one."""
    return (str(value).strip() or None) if value is not None else None


def moment_of(value: object) -> datetime | None:
    """Return a clinic-local moment; a sentinel of an older program is none."""
    if value is None or value == "":
        return None
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return None if moment <= SENTINEL else moment


def day_of(value: object) -> date | None:
    """Return a calendar day."""
    if value is None or value == "":
        return None
    if isinstance(value, datetime):
        return value.date()
    return value if isinstance(value, date) else date.fromisoformat(str(value)[:10])


def phone_of(value: object) -> str | None:
    """Return E.164, ``None`` for no phone, an empty text for one that cannot be read."""
    text = text_of(value)
    if text is None or text.casefold() in {"-", "нет"}:
        return None
    for part in (text, *re.split(r"[,;/\n]", text)):
        try:
            number = phonenumbers.parse(part, "RU")
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(number):
            return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return ""


def sound_birthday(value: object, today: date) -> date | None:
    """Return a birthday that a living person may have."""
    day = day_of(value)
    if day is None or day > today or day < today - timedelta(days=365.25 * OLDEST_YEARS):
        return None
    return day


def sound_email(value: object) -> str | None:
    """Return an address that looks like one."""
    text = text_of(value)
    name, at, host = (text or "").partition("@")
    sound = (
        bool(name and at) and "@" not in host and "." in host.strip(".") and not re.search(r"\s", text or "")
    )
    return text if sound else None


def sound_comment(value: object) -> str | None:
    """Return as much of a comment as amoCRM keeps, unless it has invisible characters."""
    text = text_of(value)
    return None if text is None or CONTROL.search(text) else text[:LONGEST_TEXT].strip()


def is_incomplete(person: Row, patient: Row, today: date) -> bool:
    """Tell whether a patient has a value that is not passed on."""
    pairs = (
        (person["Email"], sound_email(person["Email"])),
        (person["Birthday"], sound_birthday(person["Birthday"], today)),
        (patient["Comment"], sound_comment(patient["Comment"])),
    )
    broken = "" in {phone_of(person["MobilePhone"]), phone_of(person["Phone"])}
    return broken or any(text_of(value) is not None and sound is None for value, sound in pairs)


def is_held(row: Row, now: datetime | None) -> bool:
    """Tell whether a reception is wrong in what makes it an appointment.

    Args:
        row: The reception.
        now: The clinic's present moment; without it nothing counts as future.
    """
    start, end = moment_of(row["PlanStart"]), moment_of(row["PlanEnd"])
    wrong = row["ID"] <= 0 or start is None or (end is not None and end < start)
    if now is not None and start is not None:
        stamps = [moment for name in COURSE if (moment := moment_of(row[name])) is not None]
        wrong |= start > now + FURTHEST or any(moment > now + AHEAD for moment in stamps)
    return wrong


def doubtful_end(row: Row) -> bool:
    """Tell whether an appointment lasts no time, or longer than a day's work."""
    start, end = moment_of(row["PlanStart"]), moment_of(row["PlanEnd"])
    return start is not None and end is not None and not timedelta() < end - start <= LONGEST


def doubtful_money(amount: Decimal | None, debt: Decimal | None) -> tuple[bool, bool, bool]:
    """Tell whether sum, payment and debt of a bill are doubtful."""
    negative = amount is not None and amount < 0
    owed = amount is not None and debt is not None and not negative and debt > amount
    return negative, negative or owed, owed
