"""What becomes of a clinic that is connected: it is disconnected, or called by another name."""

from __future__ import annotations

from dataclasses import replace

from tasks import blocks
from tasks.errors import ConfigurationError, NotConnectedError
from tasks.events import emit
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.transfer import is_started, stop_transfer

__all__ = ["chosen_clinic", "disconnect", "rename"]


def chosen_clinic(ledger: Ledger, name: str) -> ConnectionRecord:
    """Return the clinic of a form, which may be left empty where there is only one.

    Raises:
        NotConnectedError: When there is no such clinic, or none was named and there are several.
    """
    if name:
        return ledger.connection(name)
    known = ledger.connections()
    if len(known) == 1:
        return known[0]
    raise NotConnectedError(
        problem=f"{len(known)} clinics are connected and none was named.",
        remedy="Name one: " + ", ".join(record.name for record in known),
        code="clinic_unnamed" if known else "no_clinics",
    )


def disconnect(ledger: Ledger, name: str, *, by: str) -> ConnectionRecord:
    """Forget a clinic's connection; what the ledger knows of amoCRM is kept, its schedules go.

    Args:
        ledger: The installation's ledger.
        name: The clinic.
        by: Who did it.

    Raises:
        NotConnectedError: When there is no such clinic.
    """
    record = ledger.connection(name)
    if is_started(ledger, record):
        stop_transfer(ledger, record, by=by)
    # The ledger first: a block that is left over harms nobody, a clinic without one fails at every tick.
    ledger.remove_connection(name)
    blocks.delete_database(record.block_name)
    emit("database.disconnected", record.clinic_uid, name, "info", {}, ledger)
    return record


def rename(ledger: Ledger, name: str, new_name: str) -> ConnectionRecord:
    """Call a clinic by another name; its uid, its secrets and all it transferred stay.

    Args:
        ledger: The installation's ledger.
        name: The clinic.
        new_name: Its name from now on.

    Raises:
        NotConnectedError: When there is no such clinic.
        ConfigurationError: When the new name is empty, or another clinic's.
    """
    record = ledger.connection(name)
    wanted = new_name.strip()
    if not wanted or len(wanted) > 128 or any(other.name == wanted for other in ledger.connections()):
        raise ConfigurationError(
            problem=f"A clinic cannot be called {wanted!r}: the name is empty, too long or in use.",
            remedy="Choose another name.",
            code="name_in_use",
        )
    renamed = replace(record, name=wanted)
    ledger.save_connection(renamed)
    emit("database.renamed", record.clinic_uid, wanted, "info", {}, ledger)
    return renamed
