"""``rejects``: what was not transferred and why, and what an analyst decides about it."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.output import Output, OutputOption, show, table
from deployments.cli.session import open_session
from tasks.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.console import Group

    from tasks.ledger.store import Ledger
    from tasks.review import Listed
    from tasks.review_row import Row

__all__ = ["export", "list_rejects", "retry_rejects", "show_row", "unwaive", "waive"]

#: Rows a terminal shows; JSON and CSV have all.
SHOWN = 200
DAYS = 90


class What(StrEnum):
    """What a reject is about: a row of IDENT, or a card of amoCRM."""

    PATIENT = "patient"
    APPOINTMENT = "appointment"
    CONTACT = "contact"
    LEAD = "lead"


class Severity(StrEnum):
    """How grave a rule is."""

    CRITICAL = "critical"
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


ClinicOption = Annotated[str | None, typer.Option("--clinic", help="Only this clinic.")]
EntityOption = Annotated[What | None, typer.Option("--entity", help="Only rows of this kind.")]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="Only rows with this reason.")]
SeverityOption = Annotated[Severity | None, typer.Option("--severity", help="Only rules of this severity.")]
SinceOption = Annotated[
    str | None, typer.Option("--since", help="First seen not before: 2026-03-01, 24h, 7d (UTC).")
]
ClinicArgument = Annotated[str, typer.Argument(help="Name of the clinic.")]
RuleOption = Annotated[str, typer.Option("--reason", help="Code of the rule, as rejects list shows it.")]
WhichOption = Annotated[What, typer.Option("--entity", help="patient or appointment.")]
IdsOption = Annotated[list[int] | None, typer.Option("--id", min=1, help="IDENT id; may be repeated.")]
AllRowsOption = Annotated[
    bool, typer.Option("--all-rows", help="Every row of the clinic, also those to come.")
]
ByOption = Annotated[str, typer.Option("--by", help="Who decides; no personal data beyond that.")]


def _found(
    ledger: Ledger,
    clinic: str | None,
    entity: What | None,
    reason: str | None,
    severity: Severity | None,
    since: str | None,
) -> list[Listed]:
    from datetime import UTC, datetime

    from tasks.journal import parse_since
    from tasks.review import listed_rejects

    return listed_rejects(
        ledger,
        clinic=clinic,
        entity=entity.value if entity else None,
        reason=reason,
        severity=severity.value if severity else None,
        since=parse_since(since, datetime.now(tz=UTC)) if since else None,
    )


def list_rejects(
    clinic: ClinicOption = None,
    entity: EntityOption = None,
    reason: ReasonOption = None,
    severity: SeverityOption = None,
    since: SinceOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """List rows that were kept back, with reason and field name; values are never shown."""
    rows = _found(open_session(prefect=False), clinic, entity, reason, severity, since)
    show([row.as_dict() for row in rows], output, "" if output is Output.JSON else _listing(rows))


def _listing(rows: list[Listed]) -> Group:
    from rich.console import Group
    from rich.text import Text

    from tasks.review import at

    listing = table("Не передано", "Клиника", "Что", "ID в IDENT", "Причина", "Поле", "С")
    for column in listing.columns:
        column.overflow = "fold"  # a code that is cut cannot be copied
    for row in rows[:SHOWN]:
        listing.add_row(
            row.clinic,
            row.reject.entity,
            str(row.reject.source_id),
            row.reject.reason,
            row.reject.field,
            at(row.reject.first_seen)[:10],
        )
    lines = [Text(f"Показаны {SHOWN} из {len(rows)}; все: rejects export ФАЙЛ")] * (len(rows) > SHOWN)
    counted = Counter((row.clinic, row.reject.entity, row.reason) for row in rows)
    for (name, kind, why), count in counted.most_common():
        lines += [
            Text(f"\n{name}, {kind}, {why.code}: {count}", style="bold"),
            Text(f"  {why.explanation}. {why.remedy}"),
        ]
    return Group(listing, *lines)


def show_row(
    entity: Annotated[What, typer.Argument(help="patient or appointment (contact, lead: the same).")],
    source_id: Annotated[int, typer.Argument(min=1, help="Its id in IDENT.", metavar="ID")],
    clinic: Annotated[
        str | None, typer.Option("--clinic", help="Name of the clinic, where several are connected.")
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show one row: why it is kept back, what to do, what waits for it, what was waived, its key in IDENT."""
    ledger = open_session(prefect=False)
    from tasks.explain import chosen_clinic
    from tasks.review_row import look_at

    row = look_at(ledger, chosen_clinic(ledger, clinic), entity.value, source_id)
    show(row.as_dict(), output, "" if output is Output.JSON else _page(row))


def _page(row: Row) -> Group:
    from rich.console import Group
    from rich.text import Text

    lines = [Text(f"{row.clinic}: {row.entity} {row.source_id} (в IDENT: {row.look_up})", style="bold")]
    if not row.reasons:
        lines.append(Text("Ничего не задерживает."))
    for one in row.reasons:
        place = ", ".join(part for part in (one["field"], one["severity"]) if part)
        lines += [
            Text(f"\n{one['reason']} ({place})", style="bold"),
            Text(f"  {one['explanation']}. С {one['first_seen']}, последний раз {one['last_seen']}."),
            Text(f"  Что делать: {one['remedy']} {one['link']}".rstrip()),
        ]
        if one["held_by"] is not None:
            lines.append(Text(f"  Задерживает строка {one['held_by']}."))
        if one["released"]:
            lines.append(Text("  Повтор уже разрешён."))
    if row.holds:
        waiting = ", ".join(f"{held['entity']} {held['source_id']}" for held in row.holds)
        lines += [Text("\nЖдут этой строки", style="bold"), Text(f"  {waiting}")]
    for one in row.waivers:
        which = "все строки" if one["all_rows"] else "эта строка"
        lines += [
            Text(f"\nПринято: {one['reason']}, {which}, {one['state']}", style="bold"),
            Text(f"  До {one['until']}; {one['waived_by']}: {one['note']}"),
        ]
        if one["revoked_by"]:
            lines.append(Text(f"  Отозвано {one['revoked_at']}: {one['revoked_by']}"))
    return Group(*lines)


def retry_rejects(
    clinic: ClinicArgument,
    entity: Annotated[What, typer.Option(help="patient, appointment, contact or lead.")],
    source_id: Annotated[list[int] | None, typer.Option("--id", help="IDENT id; all when left out.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only rows with this reason.")] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Let rows that were kept back be tried again in the next run."""
    ledger = open_session()
    from tasks.review import retry_rows

    count = retry_rows(ledger, ledger.connection(clinic), entity.value, source_id or None, reason)
    show(
        {"clinic": clinic, "released": count},
        output,
        f"Released {count} rows. Next: ident-amocrm sync {clinic}",
    )


def waive(  # noqa: PLR0913, PLR0917 - what is waived, why, by whom, until when
    clinic: ClinicArgument,
    entity: WhichOption,
    reason: RuleOption,
    note: Annotated[
        str, typer.Option("--note", help="Why, in a line without names, phones, dates of birth, e-mails.")
    ],
    source_id: IdsOption = None,
    all_rows: AllRowsOption = False,
    by: ByOption = "command line",
    until: Annotated[
        str | None, typer.Option("--until", help="Last day, such as 2026-06-30, clinic-local.")
    ] = None,
    days: Annotated[int | None, typer.Option("--days", min=1, max=366, help=f"{DAYS} by default.")] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Let rows pass a rule of data quality for a time; the next run sends them."""
    ids = _chosen(source_id, all_rows=all_rows)
    ledger = open_session()
    from tasks.review import at, end_of, waive_rows

    record = ledger.connection(clinic)
    end = end_of(record, until=until, days=days if days or until else DAYS)
    count = waive_rows(ledger, record, entity.value, reason, ids, note=note, by=by, until=end)
    told = {
        "clinic": clinic,
        "entity": entity.value,
        "reason": reason,
        "rows": count,
        "all_rows": all_rows,
        "until": at(end),
    }
    show(told, output, f"Waived {reason} until {at(end)}: {count} rows. Next: ident-amocrm sync {clinic}")


def unwaive(
    clinic: ClinicArgument,
    entity: WhichOption,
    reason: RuleOption,
    source_id: IdsOption = None,
    all_rows: AllRowsOption = False,
    by: ByOption = "command line",
    output: OutputOption = Output.TEXT,
) -> None:
    """Take waivers back; the next run judges their rows again."""
    ids = _chosen(source_id, all_rows=all_rows)
    ledger = open_session()
    from tasks.review import revoke

    count = revoke(ledger, ledger.connection(clinic), entity.value, reason, ids, by=by)
    told = {"clinic": clinic, "entity": entity.value, "reason": reason, "revoked": count}
    show(told, output, f"Revoked {count} waivers. Next: ident-amocrm sync {clinic}")


def _chosen(ids: list[int] | None, *, all_rows: bool) -> list[int] | None:
    """Return the rows, ``None`` for every row; nothing is waived by leaving something out."""
    if bool(ids) == all_rows:
        raise ConfigurationError(
            problem="Name the rows or say that all are meant, one of the two.",
            remedy="Use --id (once for each row) or --all-rows.",
            code="which_rows",
        )
    return None if all_rows else ids


def export(
    file: Annotated[Path, typer.Argument(help="The CSV file to write.")],
    clinic: ClinicOption = None,
    entity: EntityOption = None,
    reason: ReasonOption = None,
    severity: SeverityOption = None,
    since: SinceOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Write what was kept back as CSV: ids, codes, explanations; never a value."""
    ledger = open_session(prefect=False)
    from tasks.review_export import as_csv

    rows = _found(ledger, clinic, entity, reason, severity, since)
    # The mark in front tells Excel that this is UTF-8.
    file.write_text(as_csv(rows), encoding="utf-8-sig", newline="")
    show({"file": str(file), "rows": len(rows)}, output, f"Wrote {file}: {len(rows)} rows.")
