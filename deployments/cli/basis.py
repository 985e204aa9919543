"""``basis attest|show|withdraw``: on which legal basis a clinic's patients are transferred."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.cli.output import Output, OutputOption, show, table
from deployments.cli.session import open_session

if TYPE_CHECKING:
    from tasks.basis import Standing

__all__ = ["attest", "show_basis", "withdraw"]

NameArgument = Annotated[str, typer.Argument(help="Name of the clinic.")]
ByOption = Annotated[str, typer.Option("--by", help="Who says so, by name or office; kept in the ledger.")]


def attest(
    name: NameArgument,
    by: ByOption,
    basis: Annotated[
        str,
        typer.Option(
            help="consent: patients agreed in writing; processor: an instruction to process binds the CRM's "
            "owner; other: a basis that the clinic's lawyer confirmed."
        ),
    ],
    output: OutputOption = Output.TEXT,
) -> None:
    """Attest the legal basis of a clinic's transfer; without it nothing is sent."""
    ledger = open_session(prefect=False)
    from tasks import basis as law
    from tasks.errors import ConfigurationError

    if basis not in {one.value for one in law.Basis}:
        raise ConfigurationError(
            problem=f"There is no basis {basis!r}.",
            remedy=f"Name one of: {', '.join(law.Basis)}. What they mean: docs/how-to/law.md",
            code="unknown_basis",
        )
    record = ledger.connection(name)
    found = law.attest(ledger, record, law.Basis(basis), by=by)
    data = {"clinic": name, "basis": found.basis.value, "by": found.by, "at": found.at}
    show(data, output, f"Attested for {name}: {found.basis.value}, by {found.by}.")


def withdraw(name: NameArgument, by: ByOption, output: OutputOption = Output.TEXT) -> None:
    """Withdraw the attested basis: the clinic's next run is refused."""
    ledger = open_session(prefect=False)
    from tasks import basis as law

    law.withdraw(ledger, ledger.connection(name), by=by)
    told = f"Withdrawn for {name}; nothing more is sent. To clear a person's card: ident-amocrm erase-subject"
    show({"clinic": name, "basis": None, "by": by}, output, told)


def show_basis(output: OutputOption = Output.TEXT) -> None:
    """Show of each clinic on which basis it is transferred, who attested it and when."""
    ledger = open_session(prefect=False)
    from datetime import UTC, datetime

    from tasks import basis as law

    now = datetime.now(tz=UTC)
    found = {record.name: law.standing(ledger, record, now) for record in ledger.connections()}
    result = table("Основания передачи", "Клиника", "Основание", "Кто подтвердил", "Когда (UTC)")
    for name, standing in found.items():
        known = standing.attested
        missing = "не подтверждено" + (f", передача до {standing.until:%d.%m.%Y}" if standing.until else "")
        if standing.is_here:
            missing = "не требуется: amoCRM на этом же компьютере"
        result.add_row(
            name,
            law.MEANINGS[known.basis] if known else missing,
            *((known.by, known.at) if known else ("", "")),
        )
    show([_data(name, standing) for name, standing in found.items()], output, result)


def _data(name: str, found: Standing) -> dict[str, Any]:
    known = found.attested
    return {
        "clinic": name,
        "basis": known.basis.value if known else None,
        "by": known.by if known else None,
        "at": known.at if known else None,
        "until": found.until.isoformat(timespec="seconds") if found.until else None,
    }
