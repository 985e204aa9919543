"""The story of one row, section by section, in the order in which a row travels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any

from tasks.explaining.facts import Facts, HeldFacts
from tasks.explaining.phrases import SECTIONS, SENTENCES, VERDICTS
from tasks.explaining.reasons import WORDS, reason_text
from tasks.explaining.remedies import NEXT, REMEDIES
from tasks.explaining.verdict import Judgement, Value, judge
from tasks.frames import Entity
from tasks.records import OutcomeState

__all__ = ["Language", "Line", "Story", "tell"]

Values = Mapping[str, Value]
Told = Iterator[tuple[str, dict[str, Value]]]

CODES = frozenset({"reason", "code", "error"})
TRANSLATED = frozenset({"what", "action", "state", "status", "severity"})


class Language(IntEnum):
    """Place of a language in the tables of phrases."""

    ENGLISH = 0
    RUSSIAN = 1


def _shown(name: str, value: Value, language: Language) -> str:
    if name in CODES:
        return reason_text(str(value or ""), language)
    if isinstance(value, datetime):
        return value.strftime("%d.%m.%Y %H:%M:%S" if language is Language.RUSSIAN else "%Y-%m-%d %H:%M:%S")
    if isinstance(value, tuple):
        return ", ".join(str(part) for part in value) or "—"
    if name in TRANSLATED and language is Language.RUSSIAN:
        return WORDS.get(str(value), str(value))
    return "—" if value is None or value == "" else str(value)


def _filled(pair: tuple[str, str], values: Values, language: Language) -> str:
    return pair[language].format(**{name: _shown(name, value, language) for name, value in values.items()})


def _plain(value: Value) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    return list(value) if isinstance(value, tuple) else value


@dataclass(frozen=True, slots=True)
class Line:
    """One sentence: its code and the ids, names of fields and times in it."""

    section: str
    code: str
    values: Values = field(default_factory=dict)

    def heading(self, language: Language) -> str:
        """Return the heading of the section."""
        return SECTIONS[self.section][language]

    def text(self, language: Language) -> str:
        """Return the sentence."""
        return _filled(SENTENCES[self.code], self.values, language)

    def as_dict(self) -> dict[str, Any]:
        """Return the line as JSON data."""
        return {
            "section": self.section,
            "heading": self.heading(Language.ENGLISH),
            "code": self.code,
            "text": self.text(Language.ENGLISH),
            "values": {name: _plain(value) for name, value in self.values.items()},
        }


@dataclass(frozen=True, slots=True)
class Story:
    """What happened to a row, and the verdict."""

    facts: Facts
    lines: tuple[Line, ...]
    judgement: Judgement

    def verdict(self, language: Language) -> str:
        """Return the verdict in one sentence."""
        return _filled(VERDICTS[self.judgement.verdict.value], self.judgement.values, language)

    def remedy(self, language: Language) -> str:
        """Return what to do next."""
        return _filled(REMEDIES[self.judgement.remedy], self.judgement.values, language)

    def next_try(self, language: Language) -> str:
        """Return when the transfer turns to the row again."""
        return _filled(NEXT[self.judgement.next_try], self.judgement.values, language)

    def as_dict(self) -> dict[str, Any]:
        """Return the story as JSON data; its keys are stable."""
        facts, judgement = self.facts, self.judgement
        return {
            "clinic": facts.clinic,
            "clinic_uid": facts.clinic_uid,
            "entity": facts.entity.value,
            "source_id": facts.source_id,
            "root_id": facts.root_id,
            "external_id": facts.mark,
            "amo_id": facts.amo_id,
            "card": facts.card_url or None,
            "transferred": judgement.is_transferred,
            "verdict": judgement.verdict.value,
            "explanation": self.verdict(Language.ENGLISH),
            "remedy": {"code": judgement.remedy, "text": self.remedy(Language.ENGLISH)},
            "next_try": {"code": judgement.next_try, "text": self.next_try(Language.ENGLISH)},
            "values": {name: _plain(value) for name, value in judgement.values.items()},
            "unreachable": {
                "ident": facts.source_error or None,
                "amocrm": (facts.remote.error or None) if facts.remote else None,
            },
            "story": [line.as_dict() for line in self.lines],
        }


def tell(facts: Facts) -> Story:
    """Return the story of a row."""
    chapters = {
        "clinic": _clinic,
        "ident": _ident,
        "reading": _reading,
        "validation": _validation,
        "plan": _plan,
        "sending": _sending,
        "ledger": _ledger,
        "amocrm": _amocrm,
    }
    lines = [
        Line(section, code, values)
        for section, chapter in chapters.items()
        for code, values in chapter(facts)
    ]
    return Story(facts, tuple(lines), judge(facts))


# ---- the chapters ------------------------------------------------------------------------------------------


def _clinic(facts: Facts) -> Told:
    yield "clinic", {"clinic": facts.clinic, "mark": facts.mark, "timezone": facts.timezone}
    if facts.started is None:
        yield "transfer_never", {}
    else:
        yield "transfer_started" if facts.started else "transfer_stopped", {"at": facts.started_at}


def _ident(facts: Facts) -> Told:
    source = facts.source
    if source is None:
        yield "ident_unreachable", {"error": facts.source_error}
    elif not source.exists:
        yield "ident_missing", {}
        if facts.gone_once:
            yield "gone_once", {}
    elif facts.entity is Entity.PATIENT:
        yield "ident_patient", {"at": source.changed_at}
    else:
        yield (
            "ident_appointment",
            {"status": source.status, "start": source.start_at, "at": source.changed_at},
        )
        if len(source.chain) > 1:
            chain: dict[str, Value] = {"chain": source.chain, "root": facts.root_id}
            yield "chain", {**chain, "current": source.current_id}
        yield from _window(facts)
        if source.patient_id is None:
            yield "no_patient", {}
    if facts.patient is not None:
        yield from _patient(facts)


def _window(facts: Facts) -> Told:
    if facts.source is None or facts.window is None:
        yield "window_none", {}
        return
    first, last = facts.window
    days: dict[str, Value] = {
        "from_day": first.isoformat() if first else None,
        "to_day": last.isoformat() if last else None,
    }
    yield "window_inside" if facts.source.inside_window else "window_outside", days


def _patient(facts: Facts) -> Told:
    patient = facts.patient
    if patient is None:
        return
    yield "patient" if patient.exists else "patient_missing", {"patient_id": patient.patient_id}
    if patient.amo_id is not None:
        yield "patient_applied", {"amo_id": patient.amo_id}
    for held in (one for one in patient.held if not one.withheld):
        yield "patient_held", {"reason": held.reason, "field": held.field, "since": held.first_seen}
    if patient.answer_lost:
        yield "patient_lost", {}


def _reading(facts: Facts) -> Told:
    run = facts.last_run
    if run is None:
        yield "run_none", {}
    elif run.state == "failed":
        yield "run_failed", {"run": run.run_id, "at": run.started_at, "code": run.code}
    else:
        yield "run", {"run": run.run_id, "at": run.started_at, "state": run.state}
    if facts.watermark_at is None:
        yield "watermark_none", {}
        return
    yield "watermark", {"at": facts.watermark_at, "full": facts.full_due_at}
    changed = facts.source.changed_at if facts.source else None
    if changed is not None and changed > facts.watermark_at:
        yield "change_unread", {"at": changed}


def _validation(facts: Facts) -> Told:
    rules = [held for held in facts.held if not held.by_amocrm]
    for held in rules:
        code = "held" if held.is_direct else "value_withheld" if held.withheld else "held_by_other"
        yield code, {**_held(held), "severity": held.severity}
        if held.released:
            yield "released", _held(held)
    if not rules:
        yield "valid", {}


def _held(held: HeldFacts) -> dict[str, Value]:
    return {
        "what": held.entity,
        "id": held.source_id,
        "reason": held.reason,
        "field": held.field,
        "since": held.first_seen,
        "seen": held.last_seen,
    }


def _plan(facts: Facts) -> Told:
    for plan in facts.plans:
        yield (
            "planned_change" if plan.changed else "planned",
            {"at": plan.planned_at, "action": plan.action, "changed": plan.changed, "run": plan.run_id},
        )
    if not facts.plans:
        yield "unplanned", {}
    if facts.waiting_since is not None:
        yield "owed", {"at": facts.waiting_since}
    if facts.link_waiting:
        yield "link_owed", {}


def _sending(facts: Facts) -> Told:
    attempt = facts.attempt
    if attempt is not None:
        yield (
            "attempt",
            {"at": attempt.started_at, "scans": attempt.scans, "last": attempt.last_scan_at},
        )
    for plan in facts.plans:
        values: dict[str, Value] = {"at": plan.ended_at, "run": plan.run_id}
        if plan.state is None:
            yield "outcome_none", values
        elif plan.state is OutcomeState.APPLIED:
            yield "outcome_applied", values
        else:
            yield (
                "outcome",
                {**values, "state": plan.state.value, "reason": plan.reason, "field": plan.field},
            )
    for held in facts.held:
        if held.by_amocrm:
            yield "refused", _held(held)
            if held.released:
                yield "released", _held(held)
    if attempt is None and not facts.plans:
        yield "unsent", {}


def _ledger(facts: Facts) -> Told:
    applied = facts.applied
    if applied is None:
        yield "applied_none", {}
        return
    code = "closed" if applied.closed else "applied" if applied.confirmed else "claimed"
    yield code, {"amo_id": applied.amo_id, "at": applied.applied_at}
    if applied.status_id is not None:
        yield "stage_sent", {"place": _place(applied.pipeline_id, applied.status_id, applied.stage)}
    if applied.is_primary is not None:
        yield "primary" if applied.is_primary else "repeat", {}
    if facts.source is not None and facts.source.exists and applied.confirmed:
        yield "differs" if facts.source.differs else "same", {"fields": facts.source.differs}


def _place(pipeline_id: int | None, status_id: int | None, stage: str) -> str:
    return f"{pipeline_id}/{status_id}" + (f" ({stage})" if stage else "")


def _amocrm(facts: Facts) -> Told:
    remote, applied = facts.remote, facts.applied
    if remote is None or applied is None:
        yield "remote_nothing", {}
        return
    if remote.error:
        yield "remote_unreachable", {"error": remote.error}
        return
    if not remote.exists:
        yield "remote_missing", {"amo_id": applied.amo_id}
        return
    found = remote.amo_id or applied.amo_id
    card: dict[str, Value] = {"amo_id": found, "old": applied.amo_id, "url": facts.card_url}
    yield "remote" if found == applied.amo_id else "remote_merged", card
    if remote.ours is not None:
        yield "remote_ours" if remote.ours else "remote_foreign", {}
    if remote.status_id is not None:
        yield "remote_stage", {"place": _place(remote.pipeline_id, remote.status_id, remote.stage)}
        here = (remote.pipeline_id, remote.status_id)
        if applied.status_id is not None and here != (applied.pipeline_id, applied.status_id):
            yield "remote_moved", {}
    if remote.linked is False:
        yield "remote_unlinked", {}
