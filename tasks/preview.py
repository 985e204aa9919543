"""Before a first load: how many deals would enter each stage, so that the account's bots surprise nobody."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from tasks.extract import read_changes
from tasks.gate import pass_gate
from tasks.launch import Launch
from tasks.mapping.model import StageKey
from tasks.mapping.stages import LOST, WON, target
from tasks.markdown import plain
from tasks.plan import build_plan
from tasks.rebaseline import settle_baseline
from tasks.records import Action, Kind
from tasks.validate import apply_expectations
from tasks.workspace import Workspace, close_workspace

__all__ = ["Preview", "StageCount", "preview", "preview_markdown"]


@dataclass(frozen=True, slots=True)
class StageCount:
    """Deals that would enter one stage.

    Attributes:
        is_live: Whether the stage is open: bots and messages usually fire there.
    """

    pipeline: str
    stage: str
    deals: int
    is_live: bool


@dataclass(frozen=True, slots=True)
class Preview:
    """What a load would write, counted without writing anything.

    Attributes:
        left_out: Appointments of the database outside the window.
    """

    patients: int
    appointments: int
    left_out: int
    contacts: int
    updates: int
    stages: tuple[StageCount, ...]

    @property
    def live(self) -> int:
        """Deals that would enter open stages."""
        return sum(one.deals for one in self.stages if one.is_live)

    def as_dict(self) -> dict[str, Any]:
        """Return the preview as JSON data."""
        return asdict(self) | {"live": self.live}


def preview(run_id: str, clinic: str, launch: Launch) -> Preview:
    """Plan a full load with a launch configuration, and count; nothing is written to either side.

    Args:
        run_id: Names the working memory.
        clinic: The clinic.
        launch: The launch configuration that is being considered.

    Raises:
        IdentAmocrmError: When a condition of the transfer is not met.
    """
    space = pass_gate(run_id, clinic, "full", dry_run=True)
    try:
        space.launch = launch
        settle_baseline(space)
        read_changes(space)
        apply_expectations(space)
        build_plan(space)
        return _counted(space)
    finally:
        close_workspace(run_id)


def _counted(space: Workspace) -> Preview:
    mapping = space.settled_mapping()
    names = {
        (pipeline.id, stage.id): (pipeline.name, stage.name)
        for pipeline in space.pipelines
        for stage in pipeline.stages
    }
    counts: Counter[tuple[int, int]] = Counter()
    for row in space.plan:
        if row.kind is not Kind.LEAD or row.action is not Action.CREATE:
            continue
        stage_key = StageKey(space.stage_keys[row.source_id])
        place = target(mapping, space.primaries[row.source_id], stage_key)
        if place is not None:
            counts[place] += 1
    stages = [
        StageCount(*names.get(place, ("?", "?")), deals=number, is_live=place[1] not in {WON, LOST})
        for place, number in counts.items()
    ]
    return Preview(
        patients=space.extracted["patients"],
        appointments=space.extracted["appointments"],
        left_out=max(0, space.reader.count()["appointments"] - space.extracted["appointments"]),
        contacts=sum(row.kind is Kind.CONTACT and row.action is Action.CREATE for row in space.plan),
        updates=sum(row.action is not Action.CREATE for row in space.plan),
        stages=tuple(sorted(stages, key=lambda one: (one.pipeline, -one.deals, one.stage))),
    )


def preview_markdown(clinic: str, launch: Launch, found: Preview) -> str:
    """Return what an operator reads before confirming, in Russian."""
    begin = f"с {launch.from_day:%d.%m.%Y}" if launch.from_day else "с самого начала"
    end = f"по {launch.to_day:%d.%m.%Y}" if launch.to_day else "без ограничения вперёд"
    lines = [
        f"## Первая передача «{plain(clinic)}»: {begin} {end}",
        "",
        f"- Прочитано из IDENT: пациентов {found.patients}, приёмов {found.appointments}.",
        f"- Вне этого окна остаётся приёмов: {found.left_out}. Они не будут переданы.",
        f"- Новых контактов: {found.contacts}; изменений имеющихся карточек: {found.updates}.",
        "",
        "| Воронка | Этап | Новых сделок |",
        "|---|---|---:|",
        *(
            f"| {plain(one.pipeline)} | {plain(one.stage)}{' ⚠️' if one.is_live else ''} | {one.deals} |"
            for one in found.stages
        ),
        "",
        (
            f"⚠️ В открытые этапы войдёт сделок: **{found.live}**. Если в аккаунте настроены роботы, "
            "сообщения или задачи на эти этапы, они сработают по каждой. Отключите их на время первой "
            "передачи. Прошедшие приёмы создаются сразу в своих конечных этапах."
        ),
    ]
    if launch.to_day is not None:
        lines += [
            "",
            (
                f"Приёмы после {launch.to_day:%d.%m.%Y} не передаются, пока передачу не запустят снова "
                "с большим сроком."
            ),
        ]
    return "\n".join(lines)
