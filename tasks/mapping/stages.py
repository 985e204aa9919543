"""Where a deal belongs and whether the transfer may move it there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tasks.mapping.model import Mapping as CardMapping
from tasks.mapping.model import PipelineRule, StageKey
from tasks.records import Pipeline

__all__ = ["LOST", "WON", "may_move", "target"]

#: The closing stages that every pipeline has.
WON: Final = 142
LOST: Final = 143
UNSORTED: Final = 1
#: Moves that go back in the pipeline's order by their nature.
FREE: Final = frozenset({StageKey.CANCELLED, StageKey.NO_SHOW, StageKey.GONE, StageKey.RESCHEDULED})
REOPENING: Final = frozenset({StageKey.PLANNED, StageKey.RESCHEDULED})

Place = tuple[int, int]


def target(mapping: CardMapping, is_primary: bool, stage_key: StageKey) -> Place | None:  # noqa: FBT001
    """Return pipeline and stage of a deal, ``None`` for «не менять»."""
    rule = mapping.primary if is_primary else mapping.repeat
    stage = rule.stages.get(stage_key)
    return None if stage is None else (rule.pipeline_id, stage)


def may_move(
    pipelines: Sequence[Pipeline],
    mapping: CardMapping,
    current: Place | None,
    last_sent: Place | None,
    wanted: Place,
    stage_key: StageKey,
) -> bool:
    """Tell whether the transfer may move a deal; where in doubt, it stays.

    Args:
        pipelines: The account's pipelines now.
        mapping: The account's mapping.
        current: Where the deal stands; ``None`` when that could not be read.
        last_sent: Where we last put it.
        wanted: Where it belongs.
        stage_key: Why.
    """
    rule = _rule(mapping, current)
    if current is None or rule is None or wanted[0] != current[0] or current[1] in rule.exceptions:
        return False
    ours = last_sent == current
    if current[1] in {WON, LOST}:
        # A deal closed by hand is a person's decision; one that we closed may be corrected.
        allowed = FREE | REOPENING if current[1] == WON else frozenset(StageKey)
        return ours and stage_key in allowed
    order = {
        stage.id: stage.sort
        for pipeline in pipelines
        if pipeline.id == current[0]
        for stage in pipeline.stages
        if stage.type != UNSORTED
    }
    if current[1] not in order or wanted[1] not in order:
        return False
    if stage_key in FREE or (ours and current[1] in _left_freely(rule, stage_key)):
        return True
    return order[wanted[1]] > order[current[1]]


def _left_freely(rule: PipelineRule, stage_key: StageKey) -> set[int | None]:
    """Return stages that a deal leaves in either direction, if we put it there."""
    # A rescheduled appointment is a planned one: as long as it is that, its deal stands where it belongs.
    keys = {StageKey.NO_SHOW} | ({StageKey.RESCHEDULED} if stage_key is not StageKey.PLANNED else set())
    return {rule.stages.get(key) for key in keys} - {None}


def _rule(mapping: CardMapping, current: Place | None) -> PipelineRule | None:
    for rule in (mapping.primary, mapping.repeat):
        if current is not None and rule.pipeline_id == current[0]:
            return rule
    return None
