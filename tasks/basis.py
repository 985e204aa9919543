"""The legal basis of a clinic's transfer: what its operator attested, and what the gate makes of it.

That a person is a patient at all is medical secrecy (323-FZ art. 13), and amoCRM is somebody else: no program
can know whether the clinic may tell it. So a person says on which basis, by name, before anything is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from tasks.amocrm.host import is_here
from tasks.connections import AMOCRM, INSTALLATION
from tasks.errors import TransferRefusedError
from tasks.events import emit
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.records import Kind
from tasks.review import LONGEST_NAME, refuse_text

__all__ = [
    "BASIS",
    "DUE",
    "GRACE",
    "MEANINGS",
    "Attestation",
    "Basis",
    "Standing",
    "attest",
    "basis_warning",
    "check_basis",
    "follow_basis",
    "standing",
    "withdraw",
]

#: Names of the settings in the scope of a clinic.
BASIS: Final = "basis"
DUE: Final = "basis_due"
#: How long a transfer goes on that was running before anybody asked for its basis.
GRACE: Final = timedelta(days=14)


class Basis(StrEnum):
    """On what a clinic may hand its patients' data to amoCRM."""

    CONSENT = "consent"
    PROCESSOR = "processor"
    OTHER = "other"


#: What a person attests by each, in the words of the form.
MEANINGS: Final = {
    Basis.CONSENT: "письменное согласие пациентов на передачу сведений, составляющих врачебную тайну, в CRM",
    Basis.PROCESSOR: "обработка в медицинских целях; с владельцем CRM заключено поручение на обработку",
    Basis.OTHER: "другое основание, подтверждённое юристом клиники",
}


@dataclass(frozen=True, slots=True)
class Attestation:
    """What was attested, by whom, when (ISO, UTC)."""

    basis: Basis
    by: str
    at: str


@dataclass(frozen=True, slots=True)
class Standing:
    """How a clinic stands.

    Attributes:
        attested: What is attested; ``None`` where nothing is.
        until: Without it, until when the transfer goes on that ran before it was asked for.
        is_here: Without it, amoCRM is this machine: a stand-in for a trial, and nobody else is told anything.
    """

    attested: Attestation | None = None
    until: datetime | None = None
    is_here: bool = False

    def lets_transfer(self, now: datetime) -> bool:
        """Tell whether the gate lets a run pass."""
        return self.attested is not None or self.is_here or (self.until is not None and now < self.until)


def _scope(record: ConnectionRecord) -> str:
    return f"clinic:{record.clinic_uid}"


def standing(ledger: Ledger, record: ConnectionRecord, now: datetime) -> Standing:
    """Return how a clinic stands; nothing is written.

    Where amoCRM is this very machine nothing is to be attested: nobody else is told anything.
    A clinic whose patients stand in amoCRM already, and which was never asked, was transferred before this
    program asked: it goes on for ``GRACE`` from the first run that notices it.
    """
    stored: dict[str, Any] | None = ledger.setting(_scope(record), BASIS)
    if stored is not None:
        known = stored.get("basis")
        return Standing(Attestation(Basis(known), stored["by"], stored["at"]) if known else None)
    account: dict[str, Any] = ledger.setting(INSTALLATION, AMOCRM) or {}
    if is_here(str(account.get("base_url", ""))):
        return Standing(is_here=True)
    due = ledger.setting(_scope(record), DUE)
    if due is not None:
        return Standing(until=datetime.fromisoformat(due["until"]))
    if ledger.applied_count(record.clinic_uid, Kind.CONTACT):
        return Standing(until=now + GRACE)
    return Standing()


def follow_basis(ledger: Ledger, record: ConnectionRecord, now: datetime | None = None) -> Standing:
    """Return how a clinic stands, and write down when its time without an attested basis ends."""
    found = standing(ledger, record, now or datetime.now(tz=UTC))
    if found.until is not None and ledger.setting(_scope(record), DUE) is None:
        until = found.until.isoformat(timespec="seconds")
        ledger.put_setting(_scope(record), DUE, {"until": until}, by="gate")
        emit("basis.due", record.clinic_uid, record.name, "warning", {"days": GRACE.days}, ledger)
    return found


def check_basis(ledger: Ledger, record: ConnectionRecord) -> Standing:
    """Let a run pass whose basis is attested.

    Raises:
        TransferRefusedError: When it is not.
    """
    found = follow_basis(ledger, record)
    if not found.lets_transfer(datetime.now(tz=UTC)):
        raise TransferRefusedError(
            problem=f"Nobody attested the legal basis on which {record.name} hands patients' data to amoCRM.",
            remedy=(
                f"Run: ident-amocrm basis attest {record.name} --basis consent --by NAME "
                "(docs/how-to/law.md says what that means)"
            ),
            code="basis_missing",
        )
    return found


def basis_warning(found: Standing, record: ConnectionRecord) -> str:
    """Return what a run tells of a basis that is still to be attested, empty where it is."""
    if found.attested is not None or found.until is None:
        return ""
    return (
        f"The legal basis of {record.name} is not attested: the transfer stops on {found.until:%Y-%m-%d}. "
        f"Run: ident-amocrm basis attest {record.name} --basis consent --by NAME"
    )


def attest(ledger: Ledger, record: ConnectionRecord, basis: Basis, *, by: str) -> Attestation:
    """Record on which basis a clinic's patients may be transferred.

    Args:
        ledger: The installation's ledger.
        record: The clinic.
        basis: The basis.
        by: Who attests it: a person, by name or office.

    Raises:
        ConfigurationError: When nobody is named, or the name looks like something else.
    """
    refuse_text(by, LONGEST_NAME, "name")
    at = datetime.now(tz=UTC).isoformat(timespec="seconds")
    ledger.put_setting(_scope(record), BASIS, {"basis": basis.value, "by": by, "at": at}, by=by)
    emit("basis.attested", record.clinic_uid, record.name, "info", {"basis": basis.value}, ledger)
    return Attestation(basis, by, at)


def withdraw(ledger: Ledger, record: ConnectionRecord, *, by: str) -> None:
    """Record that there is no basis any more: a run under way stops, the next one is refused.

    Raises:
        ConfigurationError: When nobody is named, or the name looks like something else.
    """
    refuse_text(by, LONGEST_NAME, "name")
    at = datetime.now(tz=UTC).isoformat(timespec="seconds")
    ledger.put_setting(_scope(record), BASIS, {"basis": "", "by": by, "at": at}, by=by)
    emit("basis.withdrawn", record.clinic_uid, record.name, "warning", {}, ledger)
