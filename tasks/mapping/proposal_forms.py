"""The forms of autoconfiguration: one for each block, in which every element can be changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tasks.mapping.catalogue import TYPE_NAMES
from tasks.mapping.proposal import Block, Decision, Element, Proposal
from tasks.mapping.questions import Form, Question, choice
from tasks.markdown import plain

__all__ = ["APPROVE", "BLOCK_TITLES", "block_form", "decisions", "result_table"]

APPROVE: Final = "approve"
NAME: Final = "_name"
CREATE: Final = "create"
SKIP: Final = "skip"
BLOCK_TITLES: Final[dict[Block, str]] = {
    "pipelines": "Воронки и этапы",
    "contact": "Карточка контакта",
    "lead": "Карточка сделки",
}
ACTIONS: Final = {"create": "создать", "reuse": "использовать имеющееся", "skip": "не передавать"}
DONE: Final = {"create": "🆕 создано", "reuse": "♻️ использовано имеющееся", "skip": "— не передаётся"}


def question_name(key: str) -> str:
    """Return the name under which an element is asked about."""
    return key.replace(".", "_")


def block_form(proposal: Proposal, block: Block) -> Form:
    """Return the form that confirms one block."""
    elements = proposal.of(block)
    counts = {action: sum(one.action == action for one in elements) for action in ACTIONS}
    lines = [
        f"## Автонастройка: {BLOCK_TITLES[block]}",
        "",
        (
            f"Создать: {counts['create']}, использовать имеющееся: {counts['reuse']}, "
            f"не передавать: {counts['skip']}. Поля со звёздочкой * обязательны. "
            "Ничего не создаётся, пока не подтверждены все блоки."
        ),
        "",
        "| Данные | Предложение | Элемент amoCRM | Замечание |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {_title(one)} | {ACTIONS[one.action]} | {_cell(one.name)} | {_cell(one.note)} |"
        for one in elements
    ]
    approve = Question(
        name=APPROVE,
        title="Подтверждаю этот блок",
        kind="flag",
        default=False,
        hint="Без подтверждения автонастройка завершится, ничего не изменив.",
    )
    asked = [question for element in elements for question in _questions(element)]
    return Form(title=BLOCK_TITLES[block], text="\n".join(lines), questions=(approve, *asked))


def _questions(element: Element) -> list[Question]:
    skip = "Не менять этап" if element.block == "pipelines" else "Не передавать"
    new = {"pipelines": "Создать"}.get(element.block, "Создать новое поле")
    # Phones and e-mails have amoCRM's own fields: nobody can create another one.
    pairs = [] if element.type == "multitext" else [(f"{new}: «{element.new_name}»", CREATE)]
    pairs += [(f"Использовать «{one.name}»", str(one.id)) for one in element.candidates]
    if not element.required:
        pairs.append((skip, SKIP))
    default = {"create": CREATE, "skip": SKIP}.get(element.action, str(element.found))
    name = question_name(element.key)
    asked = [choice(name, _title(element), pairs, default, element.note)] if len(pairs) > 1 else []
    if element.action == "create":
        title = f"{element.title}: название нового"
        asked.append(Question(name=f"{name}{NAME}", title=title, kind="text", default=element.new_name))
    return asked


def _title(element: Element) -> str:
    kind = f" — тип поля: {TYPE_NAMES.get(element.type, element.type)}" if element.type else ""
    return f"{element.title}{' *' if element.required else ''}{kind}"


def _cell(text: str) -> str:
    return plain(text.replace("|", "/"))


def decisions(proposal: Proposal, block: Block, answer: Mapping[str, Any]) -> dict[str, Decision]:
    """Return what was decided about the elements of a block.

    Args:
        proposal: The proposal that the form showed.
        block: The block.
        answer: What the answers mean.
    """
    found: dict[str, Decision] = {}
    for element in proposal.of(block):
        name = question_name(element.key)
        # What leaves no choice is not asked about.
        chosen = answer.get(name, CREATE if element.action == "create" else str(element.found))
        if chosen == CREATE:
            decided = Decision(action="create", name=str(answer.get(f"{name}{NAME}", "")))
        elif chosen == SKIP:
            decided = Decision(action="skip")
        else:
            decided = Decision(action="reuse", found=int(chosen))
        found[element.key] = decided
    return found


def result_table(proposal: Proposal) -> str:
    """Return the table of what was reused and created."""
    lines = ["| Блок | Данные | Элемент amoCRM | Итог |", "|---|---|---|---|"]
    lines += [
        f"| {BLOCK_TITLES[one.block]} | {one.title}{' *' if one.required else ''} "
        f"| {_cell(one.name) if one.action != 'skip' else ''} | {DONE[one.action]} |"
        for one in proposal.elements
    ]
    return "\n".join(lines)
