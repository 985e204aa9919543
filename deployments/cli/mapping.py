"""``mapping``: shown, exported, imported, checked, and what a change of it sends again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.output import Output, OutputOption, say, show, table
from deployments.cli.session import open_session
from tasks.errors import ConfigurationError, MappingError

if TYPE_CHECKING:
    from tasks.ledger.store import Ledger

__all__ = ["backfill", "check", "export", "import_", "show_mapping"]

BY = "mapping command"
#: Card as an operator calls it -> as the mapping does.
CARDS = {"contact": "contact", "deal": "lead"}


def _account_id(ledger: Ledger) -> int:
    from tasks.connections import amocrm_account

    return int(str(amocrm_account(ledger)["account_id"]))


def show_mapping(
    history: Annotated[bool, typer.Option("--history", help="Every change: when, by whom, what.")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show which datum goes to which field of amoCRM."""
    ledger = open_session(prefect=False)
    from tasks.mappings import load_mapping, mapping_history

    account_id = _account_id(ledger)
    mapping = load_mapping(ledger, account_id)
    if history:
        changes = mapping_history(ledger, account_id)
        listed = table("История настройки", "Когда (UTC)", "Кто", "Что изменилось")
        for change in changes:
            listed.add_row(change.at, change.by, "\n".join(change.changes) or "—")
        data = [{"at": one.at, "by": one.by, "changes": one.changes} for one in changes]
        show(data, output, listed)
        return
    result = table("Настройки передачи", "Карточка", "Данные IDENT", "Поле amoCRM", "Тип", "Политика")
    for card, rules in (("контакт", mapping.contact), ("сделка", mapping.lead)):
        for rule in rules:
            result.add_row(card, rule.datum, rule.field_name, rule.field_type, rule.policy.value)
    show(mapping.model_dump(mode="json"), output, result)


def export(
    file: Annotated[
        Path | None, typer.Argument(help="Where to write it; standard output by default.")
    ] = None,
) -> None:
    """Write the mapping as YAML."""
    ledger = open_session(prefect=False)
    from tasks.mapping.document import write_document
    from tasks.mappings import load_mapping

    text = write_document(load_mapping(ledger, _account_id(ledger)))
    if file is None:
        typer.echo(text, nl=False)
        return
    file.write_text(text, encoding="utf-8")
    say(f"Written: {file}")


def import_(
    file: Annotated[Path, typer.Argument(help="A file that mapping export wrote.")],
    output: OutputOption = Output.TEXT,
) -> None:
    """Put a mapping from a YAML file in force, if it is sound and fits the account."""
    ledger = open_session()
    from tasks.flexible import import_mapping
    from tasks.mapping.document import read_document
    from tasks.mapping.kept import special_chosen
    from tasks.mappings import stored_mapping
    from tasks.settings import load_settings

    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            problem=f"The file {file} cannot be read ({type(error).__name__}).",
            remedy="Name a file that mapping export wrote.",
            code="mapping_document",
        ) from None
    before = set(special_chosen(stored_mapping(ledger, _account_id(ledger))))
    saved = import_mapping(ledger, load_settings(), read_document(text), by=BY)
    if new := sorted(set(special_chosen(saved.mapping)) - before):
        named = ", ".join(key.replace("lead.", "deal.") for key in new)
        say(
            f"Warning: the file transfers data about health and treatment: {named}. The legal basis must "
            "cover them: docs/how-to/law.md"
        )
    lines = saved.changes or ["Изменений нет."]
    show({"changes": saved.changes}, output, "\n".join(lines))
    if saved.redirected:
        say("Some data go to other fields now; to send them again: ident-amocrm mapping backfill")


def check(output: OutputOption = Output.TEXT) -> None:
    """Check the mapping: its own rules, and the live account."""
    ledger = open_session()
    from tasks.flexible import check_mapping
    from tasks.settings import load_settings

    found = check_mapping(ledger, load_settings())
    show({"problems": found}, output, "\n".join(found) or "Связка настроена, всё на месте.")
    if found:
        raise MappingError(
            problem=f"The mapping has {len(found)} problems: {' '.join(found)}",
            remedy="Run autoconfigure, or choose others with configure-mapping.",
            code="mapping_drift",
        )


def backfill(
    data: Annotated[
        str,
        typer.Option(
            "--data", help="Data to send again, such as deal.doctor; by default what goes elsewhere now."
        ),
    ] = "",
    yes: Annotated[
        bool, typer.Option("--yes", help="Mark the cards; without it they are only counted.")
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Send again what goes to another field now; without --yes only counts."""
    ledger = open_session(prefect=yes)
    from tasks.backfill import count_rows, mark_rows
    from tasks.mappings import load_mapping, pending_resend
    from tasks.settings import load_settings

    account_id = _account_id(ledger)
    mapping = load_mapping(ledger, account_id)
    known = {
        f"{name}.{rule.datum}": (card, rule.datum)
        for name, card in CARDS.items()
        for rule in getattr(mapping, card)
    }
    wanted = [name.strip() for name in data.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ConfigurationError(
            problem=f"There is no datum {', '.join(unknown)}.",
            remedy="Name data as card.datum, such as contact.city or deal.doctor: ident-amocrm mapping show",
            code="unknown_datum",
        )
    chosen = pending_resend(ledger, account_id)
    if wanted:
        cards = {known[name][0] for name in wanted}
        chosen = {
            card: frozenset(datum for of, datum in (known[name] for name in wanted) if of == card)
            for card in cards
        }
    settings = load_settings()
    act = mark_rows(ledger, settings, account_id, chosen, BY) if yes else count_rows(ledger, settings, chosen)
    names = {card: sorted(one) for card, one in chosen.items()}
    result = {"marked": yes, "data": names, "rows": act}
    verb = "отмечено для отправки" if yes else "будет отправлено"
    lines = [f"{card}: {', '.join(names[card])} — {verb}: {act.get(card, 0)}" for card in names]
    show(result, output, "\n".join(lines) or "Отправлять заново нечего.")
    if names and not yes:
        say("Nothing was marked. To send them: ident-amocrm mapping backfill --yes")
