"""Telling what a reconciliation found and did: ids and names of fields only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from tasks.blocks import slug
from tasks.events import Level, emit
from tasks.markdown import plain
from tasks.reconciling.findings import Finding, Handling, Mismatch
from tasks.records import Kind, OutcomeState
from tasks.report import build_report
from tasks.workspace import Workspace, workspace

__all__ = ["Line", "ReconcileReport", "build_reconcile_report", "reconcile_markdown", "report_differences"]

#: Rows that a report names; all others are counted.
NAMED: Final = 100
ENTITIES: Final = {Kind.CONTACT: "пациент", Kind.LEAD: "приём"}
PAGES: Final = {Kind.CONTACT: "contacts", Kind.LEAD: "leads"}
#: What an operator reads: the difference, and what a person may do about it.
TEXTS: Final[Mapping[Mismatch, tuple[str, str]]] = {
    Mismatch.DELETED: (
        "Удалено или объединено в amoCRM",
        "Восстановите из корзины amoCRM, если удалили по ошибке. Передача не создаёт заново.",
    ),
    Mismatch.TWINS: (
        "Двойники: одна метка у нескольких карточек",
        "Объедините карточки в amoCRM; передача ведёт карточку с меньшим номером.",
    ),
    Mismatch.MARK_TAKEN: (
        "Чужая метка: карточка принадлежит другой записи",
        "Проверьте, чья это карточка, и объедините или разделите записи.",
    ),
    Mismatch.MISSING: ("Есть в IDENT, нет в amoCRM", ""),
    Mismatch.BEHIND: ("Изменено в IDENT и ещё не передано", ""),
    Mismatch.FIELD: ("Значение в amoCRM не то, что в IDENT", ""),
    Mismatch.STAGE_BEHIND: ("Сделка отстала от этапа", ""),
    Mismatch.LINK_MISSING: ("Сделка не связана с контактом пациента", ""),
    Mismatch.MARK_ELSEWHERE: ("Метка на другой карточке, чем в журнале", ""),
    Mismatch.MARK_EMPTIED: ("Метка стёрта", ""),
    Mismatch.ORPHAN: ("Карточка с меткой, неизвестная журналу", ""),
    Mismatch.GONE: ("Удалено в IDENT", ""),
    Mismatch.UNSETTLED: ("Ответ amoCRM потерян, проверяется", ""),
    Mismatch.EDITED: ("Поле изменил человек", ""),
    Mismatch.STAGE_LEFT: ("Сделка на другом этапе: её вёл человек", ""),
    Mismatch.LINK_CHANGED: ("Контакт сделки сменил человек", ""),
    Mismatch.KEPT_BACK: ("Не передано, причина известна", "Список: ident-amocrm rejects list."),
}
#: Differences that are settled in the ledger alone.
LOCAL: Final = frozenset({Mismatch.ORPHAN, Mismatch.MARK_ELSEWHERE})
LINKS: Final = frozenset({Mismatch.LINK_CHANGED, Mismatch.LINK_MISSING})


@dataclass(frozen=True, slots=True)
class Line:
    """One kind of difference of one kind of entity.

    Attributes:
        mismatch: What differs.
        entity: ``contact`` or ``lead``.
        handling: Whose it is.
        count: How many.
        repaired: How many of them this run repaired.
        rows: The first of them: source id, amoCRM ids, names of data.
    """

    mismatch: str
    entity: str
    handling: str
    count: int
    repaired: int
    rows: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class ReconcileReport:
    """Result of one reconciliation, in the shape of ``reconcile --output json``."""

    clinic: str
    run_id: str
    dry_run: bool
    compared: dict[str, int]
    differences: tuple[Line, ...]
    repaired: int
    unrepaired: int
    for_a_person: int
    waits: int
    left: int
    requests: int
    writes: int
    seconds: float
    warnings: tuple[str, ...] = ()
    sync: dict[str, Any] | None = None
    artifact: str | None = None
    stages: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON data."""
        return asdict(self)

    @property
    def is_settled(self) -> bool:
        """Tell whether nothing is left for a person or for another try."""
        return not self.unrepaired and not self.for_a_person


def build_reconcile_report(space: Workspace) -> ReconcileReport:
    """Count what was found and what became of it."""
    groups: dict[tuple[Mismatch, Kind, Handling], list[Finding]] = defaultdict(list)
    for comparison in space.compared.values():
        for finding in comparison.findings:
            groups[finding.mismatch, finding.kind, finding.handling].append(finding)
    done = set() if space.dry_run else space.ledger.settled(space.run_id, OutcomeState.APPLIED)
    order = list(Mismatch)
    lines = tuple(
        _line(space, groups[key], done) for key in sorted(groups, key=lambda key: (order.index(key[0]), key))
    )

    def count(handling: Handling) -> int:
        return sum(line.count for line in lines if line.handling == handling)

    repaired = sum(line.repaired for line in lines)
    return ReconcileReport(
        clinic=space.clinic.name,
        run_id=space.run_id,
        dry_run=space.dry_run,
        compared={
            **space.extracted,
            "contacts": space.looked_at.get(Kind.CONTACT, 0),
            "leads": space.looked_at.get(Kind.LEAD, 0),
        },
        differences=lines,
        repaired=repaired,
        unrepaired=count(Handling.REPAIR) - repaired,
        for_a_person=count(Handling.PERSON),
        waits=count(Handling.WAIT),
        left=count(Handling.LEAVE),
        requests=space.client.requests,
        writes=space.client.writes,
        seconds=round(sum(space.seconds.values()), 2),
        warnings=tuple(space.warnings),
        sync=None if space.dry_run else build_report(space).as_dict(),
        stages={name: round(value, 2) for name, value in space.seconds.items()},
    )


def _line(space: Workspace, findings: Sequence[Finding], done: set[tuple[Kind, int]]) -> Line:
    first = findings[0]
    rows = [
        {"source_id": finding.source_id, "amo_ids": list(finding.amo_ids), "fields": list(finding.fields)}
        for finding in findings[:NAMED]
    ]
    repaired = sum(
        finding.handling is Handling.REPAIR and _is_repaired(space, finding, done) for finding in findings
    )
    return Line(
        first.mismatch.value, first.kind.value, first.handling.value, len(findings), repaired, tuple(rows)
    )


def _is_repaired(space: Workspace, finding: Finding, done: set[tuple[Kind, int]]) -> bool:
    if space.dry_run:
        return False
    comparison = space.compared[finding.kind]
    if finding.mismatch in LOCAL or finding.source_id in comparison.absent:
        return True
    kind = Kind.LINK if finding.mismatch is Mismatch.LINK_MISSING else finding.kind
    return (kind, finding.source_id) in done


def reconcile_markdown(result: ReconcileReport, base_url: str, names: Mapping[str, str]) -> str:
    """Return the operator's report, in Russian, without personal data.

    Args:
        result: What was found.
        base_url: Address of the account.
        names: Name of the field by datum, as people see it.
    """
    title = f"## Сверка «{plain(result.clinic)}»"
    compared = result.compared
    lines = [
        title + (" (пробная, ничего не исправлено)" if result.dry_run else ""),
        "",
        (
            f"IDENT: пациентов {compared['patients']}, приёмов {compared['appointments']}. "
            f"amoCRM: контактов {compared['contacts']}, сделок {compared['leads']}."
        ),
        "",
    ]
    if not result.differences:
        return "\n".join([*lines, "Расхождений нет.", "", f"`{result.run_id}`"])
    lines += ["| Расхождение | Что | Сколько | Что сделано | Что делать |", "|---|---|---:|---|---|"]
    lines += [_row(line, dry_run=result.dry_run) for line in result.differences]
    lines += [
        "",
        (
            f"Исправлено: {result.repaired}, не удалось: {0 if result.dry_run else result.unrepaired}, "
            f"ждут человека: {result.for_a_person}, ждут проверки: {result.waits}, оставлено: {result.left}."
        ),
        "",
        f"### Записи (не больше {NAMED})",
        "",
        "| Расхождение | Запись IDENT | amoCRM | Поля |",
        "|---|---|---|---|",
        *list(_named(result.differences, base_url, names))[:NAMED],
    ]
    return "\n".join([*lines, "", f"[Открыть amoCRM]({base_url}) · `{result.run_id}`"])


def _row(line: Line, *, dry_run: bool) -> str:
    text, advice = TEXTS[Mismatch(line.mismatch)]
    open_rows = line.count - line.repaired
    done = {
        Handling.REPAIR: f"исправлено {line.repaired}",
        Handling.WAIT: "ждёт подтверждения следующим полным чтением",
        Handling.LEAVE: "оставлено как есть",
        Handling.PERSON: "занесено в список, ничего не изменено",
    }[Handling(line.handling)]
    if dry_run and line.handling == Handling.REPAIR:
        done = "будет исправлено"
    elif line.handling == Handling.REPAIR and open_rows:
        advice = "Причины неисправленного: ident-amocrm rejects list; повторится при следующей передаче."
    return f"| {text} | {ENTITIES[Kind(line.entity)]} | {line.count} | {done} | {advice or '—'} |"


def _named(lines: Iterable[Line], base_url: str, names: Mapping[str, str]) -> Iterable[str]:
    for line in lines:
        kind = Kind(line.entity)
        for row in line.rows:
            # Of a link, the deal stands first and contacts follow.
            links = ", ".join(
                str(amo_id)
                if number and line.mismatch in LINKS
                else f"[{amo_id}]({base_url.rstrip('/')}/{PAGES[kind]}/detail/{amo_id})"
                for number, amo_id in enumerate(row["amo_ids"])
            )
            fields = ", ".join(plain(names.get(f"{line.entity}.{datum}", datum)) for datum in row["fields"])
            text = TEXTS[Mismatch(line.mismatch)][0]
            yield f"| {text} | {ENTITIES[kind]} {row['source_id']} | {links or '—'} | {fields or '—'} |"


def _field_names(space: Workspace) -> dict[str, str]:
    mapping = space.settled_mapping()
    return {
        f"{kind.value}.{rule.datum}": rule.field_name or rule.datum
        for kind, rules in ((Kind.CONTACT, mapping.contact), (Kind.LEAD, mapping.lead))
        for rule in rules
    }


@task(name="report", cache_policy=NO_CACHE, persist_result=False)
def report_differences(run_id: str) -> dict[str, Any]:
    """Write the artifact, the event and the ledger's line of a reconciliation that reached its end."""
    space = workspace(run_id)
    result = build_reconcile_report(space)
    artifact_id = create_markdown_artifact(
        reconcile_markdown(result, str(space.client.base_url), _field_names(space)),
        key=f"reconcile-{slug(space.clinic.name)}",
        description=f"Сверка «{plain(space.clinic.name)}»",
    )
    data = result.as_dict() | {"artifact": str(artifact_id)}
    counts = {"repaired": result.repaired, "unrepaired": result.unrepaired, "waits": result.waits}
    counts |= {"for_a_person": result.for_a_person, "left": result.left}
    for line in result.differences:
        counts[line.mismatch] = counts.get(line.mismatch, 0) + line.count
    if not space.dry_run:
        space.ledger.finish_run(run_id, "completed", {**counts, "artifact": str(artifact_id)})
        level: Level = "info" if result.is_settled else "warning"
        emit("reconcile.completed", space.uid, space.clinic.name, level, counts, space.ledger)
        if space.fresh_rejects:
            fresh = {"invalid": space.invalid, "incomplete": space.incomplete, "rejected": 0, "ambiguous": 0}
            emit("rows.rejected", space.uid, space.clinic.name, "warning", fresh, space.ledger)
    get_run_logger().info("Reconciled %s: %s", space.uid, counts)
    return data
