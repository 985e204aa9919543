"""The review of what was kept back, in the Prefect UI: a table by rule, a form, what was decided."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from tasks.blocks import slug
from tasks.connections import open_ledger
from tasks.errors import ConfigurationError
from tasks.explain import chosen_clinic
from tasks.explaining.reasons import WORDS
from tasks.frames import Entity
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.mapping.questions import Form, Question, choice
from tasks.markdown import plain
from tasks.review import (
    LONGEST_DAYS,
    NOTE_HINT,
    Reason,
    checked_waivers,
    end_of,
    known_reason,
    listed_rejects,
    retry_rows,
    revoke,
    waive_rows,
)
from tasks.validate import acceptable_stops

__all__ = [
    "Group",
    "accept_decision",
    "decide",
    "decision_form",
    "groups",
    "publish_decision",
    "publish_groups",
    "review_clinic",
]

#: Prefect's first UI renders every row of a table: more than this freezes it.
MOST_ROWS: Final = 500
IDS_SHOWN: Final = 20
#: Rules that the form's own text lists; the artifact has them all.
RULES_SHOWN: Final = 12
ALL_ROWS: Final = "все"
NOTHING, RETRY, WAIVE, REVOKE = "nothing", "retry", "waive", "revoke"
ACTIONS: Final = (
    ("Ничего не менять", NOTHING),
    ("Повторить в следующем запуске", RETRY),
    ("Принять как есть на время", WAIVE),
    ("Отозвать принятое", REVOKE),
)
DONE: Final = {
    NOTHING: "Ничего не изменено",
    RETRY: "Будут проверены и отправлены снова",
    WAIVE: "Приняты как есть",
    REVOKE: "Принятое отозвано",
}
#: Code of a run that the suites stopped.
STOPPED: Final = "validation_stop"
#: Name under which a run keeps that it published the table.
LISTED: Final = "listed"


@dataclass(frozen=True, slots=True)
class Group:
    """What one rule keeps back in one clinic.

    Attributes:
        ids: The rows, ascending.
        waived: How many waivers of the rule are valid.
    """

    entity: str
    reason: Reason
    ids: tuple[int, ...]
    waived: int = 0

    @property
    def key(self) -> str:
        """Return what stands for it in an answer."""
        return f"{self.entity}:{self.reason.code}"

    @property
    def shown_ids(self) -> str:
        """Return the first ids as text."""
        shown = ", ".join(map(str, self.ids[:IDS_SHOWN]))
        return f"{shown}, …" if len(self.ids) > IDS_SHOWN else shown


def groups(ledger: Ledger, record: ConnectionRecord) -> list[Group]:
    """Return what is kept back or waived in a clinic by rule, the most rows first."""
    ids: dict[tuple[str, str], list[int]] = {}
    for row in listed_rejects(ledger, clinic=record.name):
        ids.setdefault((row.reject.entity, row.reject.reason), []).append(row.reject.source_id)
    waived = Counter((one.entity, one.reason) for one in ledger.waivers(record.clinic_uid))
    found = [
        Group(key[0], known_reason(*key), tuple(sorted(ids.get(key, ()))), waived[key])
        for key in {**ids, **waived, **dict.fromkeys(_stops(ledger, record))}
    ]
    return sorted(found, key=lambda group: (-len(group.ids), group.entity, group.reason.code))


def _stops(ledger: Ledger, record: ConnectionRecord) -> list[tuple[str, str]]:
    """Return rules about a whole table, one of which stopped the last run; which one, its message says."""
    last = ledger.last_run(record.clinic_uid)
    if last is None or last.counts.get("code") != STOPPED:
        return []
    return [(entity.value, code) for entity in Entity for code in acceptable_stops(entity)]


@task(name="list rejects", cache_policy=NO_CACHE, persist_result=False)
def publish_groups(clinic: str, scope: str) -> int:
    """Publish what is kept back as a table, once for each run; returns how many rules keep something back."""
    ledger = open_ledger()
    record = review_clinic(ledger, clinic)
    found = groups(ledger, record)
    if found and ledger.setting(scope, LISTED) is None:
        rows = [
            {
                "Что": WORDS.get(group.entity, group.entity),
                "Правило": group.reason.code,
                "Строк": len(group.ids),
                "Принято": group.waived,
                "Что это значит": group.reason.explanation,
                "Что делать": group.reason.remedy,
                "Номера в IDENT": group.shown_ids,
            }
            for group in found[:MOST_ROWS]
        ]
        total = sum(len(group.ids) for group in found)
        create_table_artifact(
            rows,
            key=f"rejects-{slug(record.name)}",
            description=f"Не передано, «{plain(record.name)}»: {total}",
        )
        ledger.put_setting(scope, LISTED, {"rules": len(found)}, by=scope)
    return len(found)


def review_clinic(ledger: Ledger, name: str) -> ConnectionRecord:
    """Return the clinic that is reviewed: the named one, or the only one.

    Raises:
        ConfigurationError: When there is none of this name, or several and none was named.
    """
    return chosen_clinic(ledger, name.strip() or None)


def decision_form(clinic: str) -> Form:
    """Return the form in which an analyst decides about one rule; an empty answer changes nothing."""
    ledger = open_ledger()
    record = review_clinic(ledger, clinic)
    found = groups(ledger, record)[:MOST_ROWS]
    pairs = [("— не выбрано —", "")] + [(_label(group), group.key) for group in found]
    questions = (
        choice("rule", "Правило", pairs, ""),
        choice("action", "Что сделать", ACTIONS, NOTHING),
        Question(
            name="rows",
            title="Номера строк",
            kind="text",
            default="",
            hint=f"Номера в IDENT через запятую или «{ALL_ROWS}»: все строки правила, принять — и будущие.",
        ),
        Question(name="note", title="Почему можно принять", kind="text", default="", hint=NOTE_HINT),
        Question(
            name="days",
            title="На сколько дней",
            kind="number",
            default=90,
            hint=f"От 1 до {LONGEST_DAYS}; потом строки проверяются снова.",
        ),
        Question(
            name="by", title="Кто решает", kind="text", default="", hint="Должность или логин, для журнала."
        ),
    )
    return Form(title="Разбор", text=_text(record, found), questions=questions)


def _label(group: Group) -> str:
    waived = f", принято: {group.waived}" if group.waived else ""
    what = WORDS.get(group.entity, group.entity)
    count = str(len(group.ids)) if group.ids or group.waived else "вся таблица"
    return f"{what}: {group.reason.explanation} — {count}{waived} ({group.reason.code})"


def _text(record: ConnectionRecord, found: Sequence[Group]) -> str:
    """Return what stands above the form; Prefect shows four lines of it, the rest when it is scrolled."""
    total = sum(len(group.ids) for group in found)
    counts = f"**«{plain(record.name)}»: не передано строк — {total}, правил — {len(found)}.**"
    lines = [f"{counts} Что исправить в IDENT — в таблице запуска, вкладка «Artifacts». Номера:", ""]
    lines += [f"- `{group.reason.code}`: {group.shown_ids or '—'}" for group in found[:RULES_SHOWN]]
    if len(found) > RULES_SHOWN:
        lines.append(f"- и ещё {len(found) - RULES_SHOWN} — в таблице.")
    return "\n".join(lines)


def accept_decision(clinic: str, answer: Mapping[str, Any]) -> None:
    """Check an answer before it is acted on.

    Raises:
        ConfigurationError: When it cannot be.
    """
    if answer["action"] == NOTHING:
        return
    ledger = open_ledger()
    record = review_clinic(ledger, clinic)
    entity, reason = _rule(answer)
    ids = _ids(answer)
    if answer["action"] == WAIVE:
        until = end_of(record, days=int(answer["days"]))
        checked_waivers(
            ledger,
            record,
            entity,
            reason,
            ids,
            note=answer["note"],
            by=answer["by"] or "operator",
            until=until,
        )


def _rule(answer: Mapping[str, Any]) -> tuple[str, str]:
    entity, _, reason = str(answer["rule"]).partition(":")
    if not reason:
        raise ConfigurationError(
            problem="No rule was chosen.", remedy="Choose one from the list.", code="no_rule_chosen"
        )
    return entity, reason


def _ids(answer: Mapping[str, Any]) -> list[int] | None:
    """Return the named rows, ``None`` for all."""
    text = str(answer["rows"]).strip()
    if text.casefold() == ALL_ROWS:
        return None
    parts = [part for part in re.split(r"[\s,;]+", text) if part]
    if not parts or not all(re.fullmatch(r"[0-9]{1,18}", part) and int(part) > 0 for part in parts):
        raise ConfigurationError(
            problem="The rows cannot be read.",
            remedy=f"Write their ids, separated by commas, or «{ALL_ROWS}».",
            code="which_rows",
        )
    return sorted({int(part) for part in parts})


def decide(clinic: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    """Do what an analyst decided, and return it without the note; no task of Prefect is handed that.

    Raises:
        ConfigurationError: When it cannot be; nothing was recorded.
    """
    ledger = open_ledger()
    record = review_clinic(ledger, clinic)
    action = str(answer["action"])
    result: dict[str, Any] = {"clinic": record.name, "action": action, "rows": 0}
    if action == NOTHING:
        return result
    entity, reason = _rule(answer)
    ids, by = _ids(answer), str(answer["by"]) or "operator"
    result |= {"entity": entity, "reason": reason, "all_rows": ids is None, "ids": (ids or [])[:IDS_SHOWN]}
    if action == RETRY:
        result["rows"] = retry_rows(ledger, record, entity, ids, reason)
    elif action == REVOKE:
        result["rows"] = revoke(ledger, record, entity, reason, ids, by=by)
    else:
        until = end_of(record, days=int(answer["days"]))
        result["rows"] = waive_rows(
            ledger, record, entity, reason, ids, note=str(answer["note"]), by=by, until=until
        )
        result["until"] = datetime.fromtimestamp(until, tz=ZoneInfo(record.timezone)).date().isoformat()
    return result


@task(name="publish decision", cache_policy=NO_CACHE, persist_result=False)
def publish_decision(result: Mapping[str, Any]) -> str:
    """Publish what was decided: rule, rows and day; returns it in one sentence."""
    sentence = f"{DONE[result['action']]}: {result['rows']} строк" if result.get("reason") else DONE[NOTHING]
    if until := result.get("until"):
        sentence += f", до {until}"
    lines = [f"## Разбор «{plain(result['clinic'])}»", "", f"**{sentence}.**", ""]
    if result.get("reason"):
        known = known_reason(result["entity"], result["reason"])
        which = "все, и будущие" if result["all_rows"] and result["action"] == WAIVE else "все"
        shown = which if result["all_rows"] else ", ".join(map(str, result["ids"]))
        lines += [
            f"- Правило: {known.explanation} (`{known.code}`)",
            f"- Строки ({WORDS.get(result['entity'], result['entity'])}): {shown}",
            "- Следующий запуск передачи прочитает эти строки заново, хотя в IDENT они не менялись.",
        ]
    create_markdown_artifact(
        "\n".join(lines),
        key=f"review-{slug(result['clinic'])}",
        description=f"Разбор «{plain(result['clinic'])}»",
    )
    return f"{sentence}."
