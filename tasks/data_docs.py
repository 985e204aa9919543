"""Showing what the validation found: the trend in the ledger, the Data Docs, the table in the Prefect UI.

A full disk or a broken folder must not keep a patient from amoCRM: whatever goes wrong here is told and the
run goes on. Only the ledger's own failure stops it, as everywhere.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from prefect import get_run_logger
from prefect.artifacts import create_table_artifact

from tasks.blocks import slug
from tasks.errors import IdentAmocrmError
from tasks.events import emit
from tasks.frames import Entity
from tasks.hints import hint
from tasks.ledger.quality import RuleCount
from tasks.markdown import plain
from tasks.trend import LINES, PAST_RUNS, trends
from tasks.workspace import Workspace

if TYPE_CHECKING:
    from expectations.gate import Verdict

__all__ = ["keep_verdict", "show_quality", "show_verdicts"]

#: Name of the clinic's setting that tells which trouble with the pages is known already.
TROUBLE: Final = "data_docs"
FAILED: Final = "data_docs_failed"
CODES: Final = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "disk_full"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "data_docs_not_writable"),
}


def keep_verdict(space: Workspace, entity: Entity, rows: int, verdict: Verdict) -> None:
    """Remember what the validation of a frame found, without the frame.

    Args:
        space: The run.
        entity: What the rows are.
        rows: How many were validated.
        verdict: What was found.
    """
    space.verdicts.append((entity, rows, replace(verdict, good=verdict.good.iloc[:0])))


def show_verdicts(space: Workspace) -> None:
    """Record, publish and tell what was found since the last call; does nothing where nothing was validated.

    Args:
        space: The run.
    """
    found, space.verdicts = space.verdicts, []
    if not found:
        return
    if not space.dry_run:
        for entity, _rows, verdict in found:
            space.ledger.record_quality(
                space.uid,
                space.run_id,
                entity.value,
                _counts(verdict),
                is_whole=space.full,
                keep_days=space.settings.data_docs_days,
            )
    trouble = ""
    try:
        _publish(space, found)
        if not space.dry_run and (space.full or _broken(found)):
            show_quality(space)
    except Exception as error:  # noqa: BLE001 - upstream raises anything, and no page is worth a stopped run
        trouble = _code(error)
        # The text of a stranger's error may hold a value.
        get_run_logger().warning("The validation was not shown: %s (%s)", trouble, type(error).__name__)
        space.warnings.append(hint(trouble))
    _tell(space, trouble)


def show_quality(space: Workspace) -> None:
    """Publish the table of the worst rules and their trend, under a key of the clinic's own."""
    from expectations.suites import load_rules  # noqa: PLC0415 - beside the other imports of this room

    rules = {(entity.value, rule.code): rule for entity in Entity for rule in load_rules(entity)}
    counts = space.ledger.quality(space.uid, PAST_RUNS + 1)
    found = trends(counts, {key: rule.action for key, rule in rules.items()})
    lines = []
    for trend in found[:LINES]:
        rule = rules[trend.entity, trend.rule]
        lines.append(trend.line(rule.action, rule.explanation, rule.remedy))
    name = space.clinic.name
    more = f" Показаны {LINES} правил из {len(found)}." if len(found) > LINES else ""
    address = f"{space.settings.data_docs_address}/{space.uid}/index.html"
    create_table_artifact(
        lines or [{"Правило": "—", "Что значит": "Все правила выполнены", "Что делать": "Ничего"}],
        key=f"quality-{slug(name)}",
        description=(
            f"**Качество данных «{plain(name)}».** «Сейчас» и «Прошлые запуски» — полные чтения, раз в "
            f"сутки; изменения с тех пор посчитаны отдельно.{more} [Страницы проверки]({address})"
        ),
    )


def _publish(space: Workspace, found: Sequence[tuple[Entity, int, Verdict]]) -> None:
    from expectations.pages.site import (  # noqa: PLC0415
        Run,
        Validation,
        publish,
        remove_abandoned,
        write_contents,
    )

    settings = space.settings
    now = datetime.now(UTC)
    settings.prepare_home()
    run = Run(
        run_id=space.run_id,
        clinic_uid=space.uid,
        clinic=space.clinic.name,
        at=now,
        moment=f"{now.astimezone(space.zone):%d.%m.%Y %H:%M:%S}",
        is_whole=space.full,
        dry_run=space.dry_run,
        documentation_url=settings.documentation_url,
    )
    paths = publish(
        settings.data_docs,
        run,
        [Validation(*one) for one in found],
        keep_runs=settings.data_docs_runs,
        keep_days=settings.data_docs_days,
    )
    space.pages.update({entity.value: path for (entity, *_), path in zip(found, paths, strict=True)})
    remove_abandoned(settings.data_docs, settings.data_docs_days)
    known = (*space.ledger.former_connections(), *space.ledger.connections())
    write_contents(settings.data_docs, {record.clinic_uid: record.name for record in known})


def _counts(verdict: Verdict) -> list[RuleCount]:
    """Return how many rows broke each rule that nobody accepted."""
    waived = Counter(code for _key, code, _column, _severity in verdict.waived)
    return [
        RuleCount(rule.code, checked, 0 if rule.code in verdict.passed else failed - waived[rule.code])
        for rule, checked, failed in verdict.results
    ]


def _broken(found: Sequence[tuple[Entity, int, Verdict]]) -> bool:
    return any(count.failed for _entity, _rows, verdict in found for count in _counts(verdict))


def _code(error: Exception) -> str:
    if isinstance(error, IdentAmocrmError):
        return error.code
    return CODES.get(error.errno or 0, FAILED) if isinstance(error, OSError) else FAILED


def _tell(space: Workspace, trouble: str) -> None:
    """Record trouble with the pages once, not at every run, and forget it when they are there again."""
    if space.dry_run:
        return
    scope = f"clinic:{space.uid}"
    known = (space.ledger.setting(scope, TROUBLE) or {}).get("code", "")
    if trouble == known:
        return
    space.ledger.put_setting(scope, TROUBLE, {"code": trouble}, by=space.run_id, history=False)
    if trouble:
        payload = {"code": trouble}
        emit("quality.unpublished", space.uid, space.clinic.name, "warning", payload, space.ledger)
