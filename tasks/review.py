"""Reviewing what was kept back: listing it with what it means, trying again, letting it pass for a time."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from typing import Any, Final, NoReturn
from zoneinfo import ZoneInfo

from tasks.errors import ConfigurationError
from tasks.events import emit
from tasks.explaining.refusals import DEPENDENT, refusal_text
from tasks.frames import Entity
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.ledger.waivers import WaiverRecord
from tasks.records import Reject, Waiver
from tasks.validate import rule_of

__all__ = [
    "ENTITIES",
    "LONGEST_DAYS",
    "LONGEST_NAME",
    "NOTE_HINT",
    "Listed",
    "Reason",
    "at",
    "checked_waivers",
    "end_of",
    "known_reason",
    "listed_rejects",
    "refuse_text",
    "retry_rows",
    "revoke",
    "rows_held_by",
    "waive_rows",
    "waiver_state",
]

#: What a reject may be about.
ENTITIES: Final = ("patient", "appointment", "contact", "lead")
DAY: Final = 86_400.0
LONGEST_DAYS: Final = 366
LONGEST_NOTE, LONGEST_NAME = 200, 64
NOTE_HINT: Final = (
    "Без персональных данных: ни имён, ни телефонов, ни дат рождения. До 200 знаков. Хранится в журнале "
    "передачи, в события и отчёты не попадает."
)
#: Seven digits and more, however they are grouped: a phone, a birthday, the number of a passport.
DIGITS: Final = re.compile(r"(?:\d[\s().+/-]*){7,}")
MAIL: Final = re.compile(r"\S@\S")


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a row is kept back, as an analyst reads it.

    Attributes:
        severity: Of the rule; empty where it is none.
        explanation: What it means, in Russian.
        remedy: What to do, in Russian.
        link: Where the documentation has more of it.
        waivable: Whether an analyst may let it pass.
    """

    code: str
    severity: str
    explanation: str
    remedy: str
    link: str = ""
    waivable: bool = False


@dataclass(frozen=True, slots=True)
class Listed:
    """A row that is kept back."""

    clinic: str
    reject: Reject
    reason: Reason

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON data; ids, codes and our own texts only."""
        return {
            "clinic": self.clinic,
            "entity": self.reject.entity,
            "source_id": self.reject.source_id,
            "reason": self.reject.reason,
            "field": self.reject.field,
            "severity": self.reason.severity,
            "first_seen": at(self.reject.first_seen),
            "last_seen": at(self.reject.last_seen),
            "held_by": self.reject.held_by,
            "explanation": self.reason.explanation,
            "remedy": self.reason.remedy,
        }


def at(moment: float) -> str:
    """Return a time as a listing shows it."""
    return datetime.fromtimestamp(moment, tz=UTC).isoformat(timespec="seconds")


def known_reason(entity: str, code: str) -> Reason:
    """Return what a reason means."""
    if entity in set(Entity) and (rule := rule_of(Entity(entity), code)):
        return Reason(code, rule.severity, rule.explanation, rule.remedy, rule.link, waivable=rule.waivable)
    meaning, remedy = refusal_text(code)
    return Reason(code, "", meaning, remedy)


def listed_rejects(
    ledger: Ledger,
    *,
    clinic: str | None = None,
    entity: str | None = None,
    reason: str | None = None,
    severity: str | None = None,
    since: datetime | None = None,
) -> list[Listed]:
    """Return what is kept back, by clinic, entity and id.

    Args:
        ledger: The installation's ledger.
        clinic: Only of this clinic.
        entity: Only this entity.
        reason: Only with this reason.
        severity: Only rules of this severity.
        since: Only what was first seen then or later.

    Raises:
        NotConnectedError: When there is no such clinic.
    """
    names = {record.clinic_uid: record.name for record in ledger.connections()}
    uid = ledger.connection(clinic).clinic_uid if clinic else None
    reasons: dict[tuple[str, str], Reason] = {}
    found = []
    for owner, reject in ledger.rejects(uid):
        key = (reject.entity, reject.reason)
        known = reasons.get(key) or reasons.setdefault(key, known_reason(*key))
        fits = (
            entity in {None, reject.entity}
            and reason in {None, reject.reason}
            and severity in {None, known.severity}
            and (since is None or reject.first_seen >= since.timestamp())
        )
        if fits:
            found.append(Listed(names.get(owner, owner), reject, known))
    return found


def rows_held_by(ledger: Ledger, uid: str, entity: str, source_id: int) -> list[Reject]:
    """Return rows that are good themselves and wait for this one."""
    holders = {"patient_kept_back": "patient", "chain_held_back": "appointment"}
    return [
        reject
        for _uid, reject in ledger.rejects(uid)
        if reject.held_by == source_id and holders.get(reject.reason) == entity
    ]


# ---- what a person decides ---------------------------------------------------------------------------------


def retry_rows(
    ledger: Ledger, record: ConnectionRecord, entity: str, ids: Collection[int] | None, reason: str | None
) -> int:
    """Let rows be tried again in the next run; returns how many."""
    count = ledger.release(record.clinic_uid, entity, ids, reason)
    if count:
        emit("rejects.retried", record.clinic_uid, record.name, "info", {"rows": count}, ledger)
    return count


def end_of(record: ConnectionRecord, *, until: str | None = None, days: int | None = None) -> float:
    """Return when a waiver ends: after so many days, or with the last second of a day of the clinic.

    Raises:
        ConfigurationError: When the day is none, or both are given.
    """
    if days is not None and until is None and 1 <= days <= LONGEST_DAYS:
        return time.time() + days * DAY
    last = _day(until) if until is not None and days is None else None
    if last is None:
        _refuse(
            "The last day of the waiver cannot be read.",
            f"Give one of --until, such as 2026-06-30, or --days, 1 to {LONGEST_DAYS}.",
            "waiver_days",
        )
    zone = ZoneInfo(record.timezone)
    return datetime.combine(last + timedelta(days=1), clock(), tzinfo=zone).timestamp()


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        return None


def checked_waivers(
    ledger: Ledger,
    record: ConnectionRecord,
    entity: str,
    reason: str,
    ids: Collection[int] | None,
    *,
    note: str,
    by: str,
    until: float,
) -> list[Waiver]:
    """Return the waivers that somebody wants to give; ``waive_rows`` says what is what.

    Raises:
        ConfigurationError: When it cannot be.
    """
    refuse_waiver(entity, reason)
    note, by, now = note.strip(), by.strip(), time.time()
    refuse_text(note, LONGEST_NOTE, "note")
    refuse_text(by, LONGEST_NAME, "name")
    if not now < until <= now + (LONGEST_DAYS + 1) * DAY:
        _refuse(
            f"A waiver must end within {LONGEST_DAYS} days from now.",
            f"Name another day with --until, or --days 1 to {LONGEST_DAYS}.",
            "waiver_days",
        )
    known = rows_under(ledger, record, entity, reason) | {
        one.source_id
        for one in ledger.waivers(record.clinic_uid)
        if (one.entity, one.reason) == (entity, reason)
    }
    if unknown := sorted(set(ids or ()) - known):
        _refuse(
            f"{reason} does not hold back {entity} {', '.join(map(str, unknown[:20]))}.",
            f"See which rows it does: ident-amocrm rejects list --reason {reason}",
            "not_listed",
        )
    keys: Iterable[int | None] = (None,) if ids is None else sorted(set(ids))
    return [Waiver(entity, key, reason, note, by, until, now) for key in keys]


def rows_under(ledger: Ledger, record: ConnectionRecord, entity: str, reason: str) -> set[int | None]:
    """Return the rows that are listed under a reason."""
    return {
        reject.source_id
        for _uid, reject in ledger.rejects(record.clinic_uid)
        if (reject.entity, reject.reason) == (entity, reason)
    }


def waive_rows(
    ledger: Ledger,
    record: ConnectionRecord,
    entity: str,
    reason: str,
    ids: Collection[int] | None,
    *,
    note: str,
    by: str,
    until: float,
) -> int:
    """Let rows pass a rule until a day; the next run sends them.

    Args:
        ledger: The installation's ledger.
        record: The clinic.
        entity: Patient or appointment.
        reason: Code of the rule.
        ids: The rows, which must be listed under the rule; ``None`` for every row, also those to come.
        note: Why.
        by: Who says so.
        until: Epoch seconds.

    Returns:
        How many rows it is about, of those that are listed now.

    Raises:
        ConfigurationError: When it cannot be; nothing was recorded.
    """
    given = checked_waivers(ledger, record, entity, reason, ids, note=note, by=by, until=until)
    ledger.waive(record.clinic_uid, given)
    count = len(rows_under(ledger, record, entity, reason)) if ids is None else len(given)
    payload = {
        "entity": entity,
        "reason": reason,
        "rows": count,
        "all_rows": ids is None,
        "days": round((until - time.time()) / DAY),
    }
    emit("rejects.waived", record.clinic_uid, record.name, "info", payload, ledger)
    return count


def revoke(
    ledger: Ledger,
    record: ConnectionRecord,
    entity: str,
    reason: str,
    ids: Collection[int] | None,
    *,
    by: str,
) -> int:
    """Take waivers back; the next run judges their rows again.

    Returns:
        How many were valid.

    Raises:
        ConfigurationError: When the name is unfit.
    """
    by = by.strip()
    refuse_text(by, LONGEST_NAME, "name")
    count = ledger.revoke_waiver(record.clinic_uid, entity, reason, ids, by)
    if count:
        payload = {"entity": entity, "reason": reason, "waivers": count, "all_rows": ids is None}
        emit("rejects.waiver_revoked", record.clinic_uid, record.name, "info", payload, ledger)
    return count


def waiver_state(record: WaiverRecord, now: float) -> str:
    """Return where a waiver stands: ``valid``, ``expired`` or ``revoked``."""
    if record.is_valid(now):
        return "valid"
    return "revoked" if record.revoked_at is not None else "expired"


def refuse_waiver(entity: str, reason: str) -> None:
    """Refuse to waive what is no rule, or a rule that nobody may waive.

    Raises:
        ConfigurationError: With what to do instead.
    """
    if entity not in set(Entity):
        _refuse(
            f"{reason} is amoCRM's refusal of a card: a waiver here does not change amoCRM's mind.",
            "Put right what it names, then: ident-amocrm rejects retry",
            "amocrm_refusal",
        )
    if reason in DEPENDENT:
        _refuse(
            f"{reason} is no rule: the row is good and waits for another one.",
            "Waive or correct the row that holds it: ident-amocrm rejects show",
            "waits_for_another",
        )
    rule = rule_of(Entity(entity), reason)
    if rule is None:
        _refuse(
            f"There is no rule {reason!r} for a row of this kind ({entity}).",
            "See the rules at work: ident-amocrm rejects list",
            "unknown_rule",
        )
    if not rule.waivable:
        _refuse(
            f"{reason} may not be waived: amoCRM could not keep such a row apart from others.",
            "Correct the row in IDENT; the next run sends it.",
            "not_waivable",
        )


def refuse_text(text: str, longest: int, what: str) -> None:
    """Refuse an empty or long text, or one that looks like personal data; it is never quoted.

    Raises:
        ConfigurationError: With what is wrong.
    """
    if not text or len(text) > longest or not text.isprintable():
        _refuse(
            f"The {what} must have 1 to {longest} characters in one line; it has {len(text)}.",
            "Write shortly why the rows may pass." if what == "note" else "Write who decides.",
            "waiver_text",
        )
    if DIGITS.search(text) or MAIL.search(text):
        _refuse(
            f"The {what} looks as if it held a phone number, a date of birth or an e-mail address.",
            "Write it without personal data; a row is known by its id.",
            "waiver_personal",
        )


def _refuse(problem: str, remedy: str, code: str) -> NoReturn:
    raise ConfigurationError(problem=problem, remedy=remedy, code=code)
