"""«Автонастройка»: similar pipelines, stages and fields are found, the rest is created as confirmed."""

from __future__ import annotations

from functools import partial
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import BaseModel, Field

from tasks.configure import accept_block, create_confirmed, draft_proposal, drafted_form
from tasks.errors import IdentAmocrmError
from tasks.forms import ask_until, failed, run_key, run_scope
from tasks.mapping.proposal import Block
from tasks.mapping.proposal_forms import APPROVE, BLOCK_TITLES

__all__ = ["Blocks", "autoconfigure"]


class Blocks(BaseModel):
    """Что настроить."""

    pipelines: bool = Field(default=True, title="Воронки и этапы")
    contact: bool = Field(default=True, title="Карточка контакта")
    deal: bool = Field(default=True, title="Карточка сделки")

    def chosen(self) -> tuple[Block, ...]:
        """Return the blocks in their order."""
        wanted: dict[Block, bool] = {"pipelines": self.pipelines, "contact": self.contact, "lead": self.deal}
        return tuple(block for block, is_wanted in wanted.items() if is_wanted)


@flow(name="autoconfigure", flow_run_name="автонастройка", persist_result=False)
def autoconfigure(blocks: Blocks) -> State[None]:
    """Найти похожие воронки, этапы и поля в amoCRM и создать недостающие.

    Каждый блок подтверждается в своей форме; до последнего подтверждения ничего не создаётся. Повторный
    запуск использует созданное и ничего не удваивает.

    Args:
        blocks: Какие блоки настроить.
    """
    scope, answers = run_scope(), dict[Block, dict[str, Any]]()
    try:
        draft_proposal(scope, blocks.chosen())
        for block in blocks.chosen():
            answer = ask_until(
                block, partial(drafted_form, scope, block), partial(accept_block, scope, block)
            )
            if not answer[APPROVE]:
                return Completed(message=f"Блок «{BLOCK_TITLES[block]}» не подтверждён: ничего не создано.")
            answers[block] = answer
        return Completed(message=create_confirmed(scope, answers, f"autoconfigure {run_key()}"))
    except IdentAmocrmError as error:
        return failed(error)
