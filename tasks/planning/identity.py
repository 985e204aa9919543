"""Who is who: matching patients and appointments with what already stands in amoCRM.

The order is fixed by the promise "never twice, never over a person's work": what carries our external id is
ours; then a live contact without an external id whose phone AND name agree; then a new one. One phone is not
an identity: families share it (``ident.md`` 2.1, R2). Several candidates are never guessed between.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tasks.records import FieldValues, RemoteContact, RemoteLead

__all__ = [
    "ContactIndex",
    "Match",
    "external_id",
    "name_key",
    "open_deal_of",
    "parse_external_id",
    "phone_key",
]

PHONE_DIGITS = 10  # of a Russian number without its 8 or +7


def external_id(clinic_uid: str, letter: str, source_id: int) -> str:
    """Return the id that marks an entity as ours: ``P`` for a patient, ``A`` for an appointment."""
    return f"IDENT-{clinic_uid}-{letter}-{source_id}"


def parse_external_id(text: str, clinic_uid: str, letter: str) -> int | None:
    """Return the source id behind an external id of this clinic, ``None`` for anything else."""
    match = re.fullmatch(rf"IDENT-{re.escape(clinic_uid)}-{letter}-(\d+)", text.strip())
    return int(match[1]) if match else None


def phone_key(text: str) -> str:
    """Return the digits that two spellings of one phone share, empty where there are too few."""
    digits = re.sub(r"\D", "", text)
    return digits[-PHONE_DIGITS:] if len(digits) >= PHONE_DIGITS else ""


def name_key(*parts: str | None) -> tuple[str, ...]:
    """Return a name as sorted, case-folded words, ``ё`` written as ``е``."""
    text = unicodedata.normalize("NFC", " ".join(part for part in parts if part)).casefold().replace("ё", "е")
    return tuple(sorted(re.findall(r"[^\W\d_]+", text)))


@dataclass(frozen=True, slots=True)
class Match:
    """Answer of the index: one id, or several that a person has to choose between, or nothing."""

    amo_id: int | None = None
    candidates: tuple[int, ...] = ()
    twins: tuple[int, ...] = ()  # further entities with our external id; the lowest id is kept


@dataclass(slots=True)
class ContactIndex:
    """Contacts of an account by external id and by phone.

    Attributes:
        external_field: Id of the field that holds our external id.
        phone_field: Ids of the phone fields (predefined code PHONE).
    """

    external_field: int
    phone_fields: frozenset[int]
    _by_external: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list), repr=False)
    _by_phone: dict[str, dict[int, tuple[str, ...]]] = field(
        default_factory=lambda: defaultdict(dict), repr=False
    )
    _phones_of: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set), repr=False)

    def add(self, contacts: Iterable[RemoteContact]) -> None:
        """Put contacts into the index; adding one twice changes nothing."""
        for contact in contacts:
            if contact.is_deleted:
                continue
            mark = first_text(contact.values, self.external_field)
            if mark:
                if contact.id not in self._by_external[mark]:
                    self._by_external[mark].append(contact.id)
                continue
            words = name_key(contact.name) or name_key(contact.last_name, contact.first_name)
            for phone in self._phones(contact):
                self._by_phone[phone][contact.id] = words
                self._phones_of[contact.id].add(phone)

    def __bool__(self) -> bool:
        return bool(self._by_external or self._by_phone)

    def _phones(self, contact: RemoteContact) -> set[str]:
        texts = (
            str(item.get("value") or "") for key in self.phone_fields for item in contact.values.get(key, ())
        )
        return {key for text in texts if (key := phone_key(text))}

    def find(self, mark: str, patient: Mapping[str, str | None]) -> Match:
        """Find the contact of a patient.

        Args:
            mark: The patient's external id.
            patient: Texts of the card (``last_name``, ``first_name``, ``phone_mobile``, ``phone_other``).

        Returns:
            The match; ``candidates`` only where several live contacts have this phone and this name.
        """
        if own := sorted(self._by_external.get(mark, ())):
            return Match(own[0], twins=tuple(own[1:]))
        phones = {phone_key(patient.get(datum) or "") for datum in ("phone_mobile", "phone_other")}
        known = {amo_id: words for phone in phones for amo_id, words in self._by_phone.get(phone, {}).items()}
        if not known:
            return Match()  # most patients of a first load: their names need not be taken apart
        words = name_key(patient.get("last_name"), patient.get("first_name"))
        short = name_key(patient.get("last_name"), (patient.get("first_name") or "").partition(" ")[0])
        found = {amo_id for amo_id, name in known.items() if words and name in (words, short)}
        if len(found) == 1:
            return Match(found.pop())
        return Match(candidates=tuple(sorted(found)))

    def taken(self, amo_id: int) -> None:
        """Forget a contact that was just claimed, so that a second patient cannot claim it too."""
        for phone in self._phones_of.pop(amo_id, ()):
            self._by_phone[phone].pop(amo_id, None)


def first_text(values: FieldValues, field_id: int) -> str:
    """Return the first value of a field as text, empty where there is none."""
    items = values.get(field_id, ())
    return str(items[0].get("value") or "") if items else ""


def open_deal_of(
    leads: Iterable[RemoteLead], *, mark: str, external_field: int, places: Mapping[int, frozenset[int]]
) -> Match:
    """Find the deal of a planned, future appointment among the deals of its patient's contact.

    Args:
        leads: Deals of the contact.
        mark: External id of the appointment.
        external_field: Id of the field that holds it.
        places: Open stages in which a manager's deal may be adopted, by mapped pipeline
            (not «Неразобранное»: amoCRM moves a deal out of it on any update).

    Returns:
        Our own deal where one carries the mark; else the only open deal without a mark; several: candidates.
    """
    own: list[int] = []
    free: list[int] = []
    for lead in leads:
        if lead.is_deleted:
            continue
        known = first_text(lead.values, external_field)
        if known == mark:
            own.append(lead.id)
        elif not known and lead.status_id in places.get(lead.pipeline_id, frozenset()):
            free.append(lead.id)
    if own:
        return Match(min(own), twins=tuple(sorted(own)[1:]))
    if len(free) == 1:
        return Match(free[0])
    return Match(candidates=tuple(sorted(free)))
