"""Telling what a run did: its result, its artifact, its events, its line in the ledger."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from tasks.blocks import slug
from tasks.errors import GuardError
from tasks.events import emit
from tasks.fingerprints import remember_highest
from tasks.markdown import plain
from tasks.records import Action, Kind, OutcomeState, PlanRow
from tasks.workspace import Workspace, workspace

__all__ = ["SyncReport", "build_report", "report", "sync_markdown"]

#: What a page of the Data Docs is about, as an operator calls it.
PAGES = {"patient": "пациенты", "appointment": "приёмы"}


@dataclass(frozen=True, slots=True)
class SyncReport:
    """Result of one run, in the shape of ``sync --output json``; counts and ids only."""

    clinic: str
    run_id: str
    mode: str
    extracted: dict[str, int]
    invalid: int
    incomplete: int
    planned: dict[str, Any]
    applied: dict[str, Any]
    rejected: int
    deferred: int
    ambiguous: int
    requests: int
    seconds: float
    unsettled: int = 0  # of earlier runs: sent then, and still looked for; no row of this run's plan
    dry_run: bool = False
    writes: int = 0
    warnings: tuple[str, ...] = ()
    artifact: str | None = None
    stages: dict[str, float] = field(default_factory=dict)
    plan: tuple[dict[str, Any], ...] = ()
    pages: dict[str, str] = field(default_factory=dict)  # what was validated -> its page of the Data Docs

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON data."""
        return asdict(self)

    @property
    def has_rejects(self) -> bool:
        """Tell whether a person has something to look at."""
        return bool(self.invalid or self.incomplete or self.rejected or self.ambiguous or self.unsettled)


def build_report(space: Workspace) -> SyncReport:
    """Count what was planned and how it ended.

    Raises:
        GuardError: When a planned row has no outcome: a number that does not add up is never hidden.
    """
    counts = {} if space.dry_run else space.ledger.outcome_counts(space.run_id)
    states = {state: sum(by_state.get(state, 0) for by_state in counts.values()) for state in OutcomeState}
    if not space.dry_run and sum(states.values()) != len(space.plan):
        raise GuardError(
            problem=f"{len(space.plan)} rows were planned but {sum(states.values())} have an outcome.",
            remedy="This is a defect: please report it with the run id; the rows stay due.",
            code="unaccounted",
        )
    planned = _tally(space, None)
    if states[OutcomeState.APPLIED] == len(space.plan):
        applied = planned
    else:
        applied = _tally(space, space.ledger.settled(space.run_id, OutcomeState.APPLIED))
    return SyncReport(
        clinic=space.clinic.name,
        run_id=space.run_id,
        mode="full" if space.full else "incremental",
        extracted=dict(space.extracted),
        invalid=space.invalid,
        incomplete=space.incomplete,
        planned=planned,
        applied=applied,
        rejected=states[OutcomeState.REJECTED],
        deferred=states[OutcomeState.DEFERRED],
        ambiguous=states[OutcomeState.AMBIGUOUS],
        unsettled=sum(len(keys) for keys in space.unknown.values()),
        requests=space.client.requests,
        seconds=round(sum(space.seconds.values()), 2),
        dry_run=space.dry_run,
        writes=space.client.writes,
        warnings=tuple(space.warnings),
        stages={name: round(value, 2) for name, value in space.seconds.items()},
        plan=tuple(_shown(row) for row in space.plan) if space.dry_run else (),
        pages={name: f"{space.settings.data_docs_address}/{path}" for name, path in space.pages.items()},
    )


def _shown(row: PlanRow) -> dict[str, Any]:
    """Return a planned row by ids and names of data; values are never shown."""
    return {
        "kind": row.kind.value,
        "source_id": row.source_id,
        "action": row.action.value,
        "changed": list(row.changed),
        "amo_id": row.amo_id,
    }


def _tally(space: Workspace, chosen: set[tuple[Kind, int]] | None) -> dict[str, Any]:
    rows = Counter(
        (row.kind, row.action) for row in space.plan if chosen is None or (row.kind, row.source_id) in chosen
    )
    return {
        "contacts": {
            "create": rows[Kind.CONTACT, Action.CREATE],
            "update": rows[Kind.CONTACT, Action.UPDATE],
        },
        "leads": {action.value: rows[Kind.LEAD, action] for action in Action},
        "links": sum(rows[Kind.LINK, action] for action in Action),
        "notes": sum(rows[Kind.NOTE, action] for action in Action),
    }


def sync_markdown(result: SyncReport, base_url: str) -> str:
    """Return the operator's report, in Russian, without personal data."""
    planned, applied = result.planned, result.applied
    rows = [
        ("Контакты: создать", planned["contacts"]["create"], applied["contacts"]["create"]),
        ("Контакты: обновить", planned["contacts"]["update"], applied["contacts"]["update"]),
        ("Сделки: создать", planned["leads"]["create"], applied["leads"]["create"]),
        ("Сделки: обновить", planned["leads"]["update"], applied["leads"]["update"]),
        ("Сделки: обновить и передвинуть", planned["leads"]["move"], applied["leads"]["move"]),
        ("Связи сделки с контактом", planned["links"], applied["links"]),
        ("Примечания о переносе", planned["notes"], applied["notes"]),
    ]
    mode = {"full": "полное чтение", "incremental": "только изменения"}[result.mode]
    lines = [
        f"## Передача «{plain(result.clinic)}»: {mode}"
        + (" (пробный прогон, ничего не отправлено)" if result.dry_run else ""),
        "",
        (
            f"Прочитано из IDENT: пациентов {result.extracted['patients']}, "
            f"приёмов {result.extracted['appointments']}."
        ),
        "",
        "| Действие | Запланировано | Выполнено |",
        "|---|---:|---:|",
        *(f"| {name} | {want} | {done} |" for name, want, done in rows),
        "",
        *_totals(result),
    ]
    if result.has_rejects:
        lines += ["", "Что не передано и почему: `ident-amocrm rejects list` или запуск `review-rejects`."]
    if result.pages:
        links = (f"[{PAGES[name]}]({address})" for name, address in result.pages.items())
        lines += ["", f"Что проверено в данных и что исправить: {', '.join(links)}."]
    if result.warnings:
        lines += ["", "**Предупреждения**", "", *(f"- {plain(warning)}" for warning in result.warnings)]
    lines += ["", f"[Открыть amoCRM]({base_url}) · `{result.run_id}`"]
    return "\n".join(lines)


def _totals(result: SyncReport) -> list[str]:
    return [
        "| Итог | Строк |",
        "|---|---:|",
        f"| Не прошли проверку данных | {result.invalid} |",
        f"| Переданы без ошибочного значения | {result.incomplete} |",
        f"| Отклонены amoCRM | {result.rejected} |",
        f"| Отложены до следующего запуска | {result.deferred} |",
        f"| Ответ amoCRM потерян, проверяется | {result.ambiguous + result.unsettled} |",
        "",
        (
            f"Запросов к amoCRM: {result.requests}, из них на запись: {result.writes}. "
            f"Время: {result.seconds:.1f} с."
        ),
        "",
        "| Шаг | Секунд |",
        "|---|---:|",
        *(f"| {name} | {seconds:.1f} |" for name, seconds in result.stages.items()),
    ]


@task(name="report", cache_policy=NO_CACHE, persist_result=False)
def report(run_id: str) -> dict[str, Any]:
    """Write the artifact, the events and the ledger's line of a run that reached its end."""
    space = workspace(run_id)
    result = build_report(space)
    data = result.as_dict()
    lost = result.ambiguous + result.unsettled
    news = bool(space.fresh_rejects or result.rejected or lost)
    worth_telling = bool(space.plan or news or space.remarks or space.full or space.dry_run)
    if worth_telling:
        base_url = str(space.client.base_url)
        artifact_id = create_markdown_artifact(
            sync_markdown(result, base_url),
            key=f"sync-{slug(space.clinic.name)}",
            description=f"Передача «{plain(space.clinic.name)}»",
        )
        data["artifact"] = str(artifact_id)
    if not space.dry_run:
        space.ledger.finish_run(run_id, "completed", data)
        remember_highest(space.clinic, space.reader, space.ledger)
        if worth_telling:
            counts = {"planned": len(space.plan), "invalid": result.invalid, "rejected": result.rejected}
            emit("sync.completed", space.uid, space.clinic.name, "info", counts, space.ledger)
        if news:
            counts = {
                "invalid": result.invalid,
                "incomplete": result.incomplete,
                "rejected": result.rejected,
                "ambiguous": lost,
            }
            emit("rows.rejected", space.uid, space.clinic.name, "warning", counts, space.ledger)
    get_run_logger().info("Sync of %s: %d rows planned, %d writes", space.uid, len(space.plan), result.writes)
    return data
