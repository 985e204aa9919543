"""``autoconfigure`` and ``mapping show``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.output import Output, OutputOption, say, show, table
from deployments.cli.session import open_session

if TYPE_CHECKING:
    from rich.table import Table

    from tasks.mapping.autoconfigure import Proposal

__all__ = ["autoconfigure", "show_mapping"]


def _proposal_table(proposal: Proposal) -> Table:
    result = table("Автонастройка", "Блок", "Элемент", "Действие")
    for element in proposal.elements:
        action = {"create": "создать", "reuse": "использовать имеющийся"}[element.action]
        result.add_row(element.block, element.name, action)
    return result


def autoconfigure(
    yes: Annotated[bool, typer.Option("--yes", help="Create what is missing without asking.")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Find or create the pipelines, stages and fields in amoCRM and save the mapping."""
    ledger = open_session()
    from rich.console import Console

    from tasks import configure
    from tasks.settings import load_settings

    def confirm(proposal: Proposal) -> bool:
        if output is Output.TEXT:
            Console().print(_proposal_table(proposal))
        return yes or typer.confirm("Создать недостающее в amoCRM?", err=True)

    proposal, mapping = configure.autoconfigure(ledger, load_settings(), confirm)
    elements = [
        {"block": element.block, "name": element.name, "action": element.action}
        for element in proposal.elements
    ]
    done = mapping is not None
    show(
        {"configured": done, "elements": elements},
        output,
        "Связка настроена. Next: ident-amocrm start NAME" if done else "Ничего не создано.",
    )
    if not done:
        say("Declined; nothing was changed.")


def show_mapping(output: OutputOption = Output.TEXT) -> None:
    """Show which datum goes to which field of amoCRM."""
    ledger = open_session(prefect=False)
    from tasks.connections import amocrm_account
    from tasks.gate import load_mapping

    mapping = load_mapping(ledger, int(str(amocrm_account(ledger)["account_id"])))
    result = table("Настройки передачи", "Карточка", "Данные IDENT", "Поле amoCRM", "Тип", "Политика")
    for card, rules in (("контакт", mapping.contact), ("сделка", mapping.lead)):
        for rule in rules:
            result.add_row(card, rule.datum, rule.field_name, rule.field_type, rule.policy.value)
    show(mapping.model_dump(mode="json"), output, result)
