"""``autoconfigure``: the pipelines, stages and fields in amoCRM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.output import Output, OutputOption, say, show, table
from deployments.cli.session import open_session
from tasks.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.table import Table

    from tasks.mapping.proposal import Block, Proposal

__all__ = ["autoconfigure"]

#: What an operator calls the blocks; the deal's own name inside is amoCRM's.
BLOCKS: dict[str, Block] = {"pipelines": "pipelines", "contact": "contact", "deal": "lead"}
ACTIONS = {"create": "создать", "reuse": "использовать имеющийся", "skip": "не передавать"}


def chosen_blocks(only: str) -> tuple[Block, ...]:
    """Return the blocks that ``--only`` names, all where it names none.

    Raises:
        ConfigurationError: When one is unknown.
    """
    names = [name.strip() for name in only.split(",") if name.strip()] or list(BLOCKS)
    unknown = [name for name in names if name not in BLOCKS]
    if unknown:
        raise ConfigurationError(
            problem=f"There is no block {', '.join(unknown)}.",
            remedy=f"Name some of: {','.join(BLOCKS)}",
            code="unknown_block",
        )
    return tuple(block for name, block in BLOCKS.items() if name in names)


def chosen_special(special: str) -> frozenset[str]:
    """Return the keys of the data that ``--special`` names.

    Raises:
        ConfigurationError: When one is unknown, or is no special category.
    """
    from tasks.mapping.catalogue import SPECIAL

    known = {key.replace("lead.", "deal."): key for key in SPECIAL}
    names = {name.strip() for name in special.split(",") if name.strip()}
    if names == {"all"}:
        return SPECIAL
    if unknown := sorted(names - known.keys()):
        raise ConfigurationError(
            problem=f"These are no data of a special category: {', '.join(unknown)}.",
            remedy=f"Name some of: {', '.join(sorted(known))}; or all. See docs/how-to/law.md",
            code="unknown_datum",
        )
    return frozenset(known[name] for name in names)


def _proposal_table(proposal: Proposal) -> Table:
    result = table("Автонастройка", "Блок", "Что", "Элемент amoCRM", "Действие", "Замечание")
    names = {block: name for name, block in BLOCKS.items()}
    for element in proposal.elements:
        mark = " *" if element.required else ""
        action = ACTIONS[element.action]
        result.add_row(names[element.block], element.title + mark, element.name, action, element.note)
    return result


def autoconfigure(
    yes: Annotated[bool, typer.Option("--yes", help="Create what is missing without asking.")] = False,
    only: Annotated[
        str, typer.Option("--only", help="Only these blocks: pipelines,contact,deal; all by default.")
    ] = "",
    special: Annotated[
        str,
        typer.Option(
            help="Also transfer these data about health and treatment, off by default: contact.comment, "
            "deal.services, …, or all. Only where the legal basis covers them: docs/how-to/law.md"
        ),
    ] = "",
    output: OutputOption = Output.TEXT,
) -> None:
    """Find or create the pipelines, stages and fields in amoCRM and save the mapping."""
    blocks, chosen = chosen_blocks(only), chosen_special(special)
    ledger = open_session()
    from rich.console import Console

    from tasks import configure
    from tasks.settings import load_settings

    def confirm(proposal: Proposal) -> bool:
        if output is Output.TEXT:
            Console().print(_proposal_table(proposal))
        return yes or typer.confirm("Создать недостающее в amoCRM?", err=True)

    proposal, done = configure.autoconfigure(ledger, load_settings(), confirm, blocks=blocks, special=chosen)
    elements = [
        {"block": element.block, "key": element.key, "name": element.name, "action": element.action}
        for element in proposal.elements
    ]
    changes = done.saved.changes if done else []
    show(
        {
            "configured": done is not None,
            "elements": elements,
            "changes": changes,
            "resent": done.resent if done else {},
        },
        output,
        "Связка настроена. Next: ident-amocrm start NAME" if done else "Ничего не создано.",
    )
    if not done:
        say("Declined; nothing was changed.")
    elif sum(done.resent.values()):
        say(f"Cards that get back the values of repaired fields in the next run: {done.resent}")
