"""A dirty frame whose every value is marked, the verdict on it, and the Data Docs made of both."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from expectations.gate import Verdict, validate
from expectations.pages.site import Run, Validation, publish, write_contents
from tasks.frames import FRAMES, Entity, canonical

__all__ = ["CLINIC", "MARKS", "NOW", "UID", "dirty", "published", "traces", "verdict_on"]

NOW = datetime(2026, 3, 2, 12, 0)
UID, CLINIC = "c0ffee", "Клиника «Север & Юг»"
#: Values that must not leave the frame; each stands in some column of ``dirty``.
MARKS = ("Меткофамильев", "Меткоимянна", "8 916 метка", "метка@@почта", "МеткаКомментарий", "1887-07-13")
BLANK = {"archived": False, "sms_opt_out": False, "visits_completed": 0, "visits_total": 0}


def dirty(rows: int = 200) -> pd.DataFrame:
    """Patients of whom each second one has every defect that a single row can have."""
    made: list[dict[str, Any]] = []
    for key in range(1, rows + 1):
        bad = key % 2 == 0
        made.append(
            {
                **dict.fromkeys(FRAMES[Entity.PATIENT]),
                **BLANK,
                "patient_id": key,
                "last_name": None if key % 20 == 0 else MARKS[0],
                "first_name": None if key % 20 == 0 else MARKS[1],
                "phone_mobile": MARKS[2] if bad else f"+7900{key:07d}",
                "email": MARKS[3] if bad else "a@b.ru",
                "birth_date": pd.Timestamp(MARKS[5]) if bad else pd.Timestamp("1980-01-01"),
                "comment": MARKS[4],
            }
        )
    return canonical(pd.DataFrame(made, columns=list(FRAMES[Entity.PATIENT])), Entity.PATIENT)


def verdict_on(frame: pd.DataFrame, **options: Any) -> Verdict:
    return validate(frame, Entity.PATIENT, now=NOW, **options)


def published(
    folder: Path,
    verdict: Verdict,
    number: int = 0,
    *,
    keep_runs: int = 100,
    keep_days: int = 30,
    at: datetime | None = None,
    **facts: Any,
) -> str:
    """Publish a validation of patients; returns the path of its page."""
    moment = at or datetime.now(UTC) + timedelta(milliseconds=number)
    run = Run(
        run_id=f"run-{number}",
        clinic_uid=UID,
        clinic=CLINIC,
        at=moment,
        moment=f"{moment:%d.%m.%Y %H:%M:%S}",
        is_whole=True,
        **facts,
    )
    validation = Validation(
        Entity.PATIENT, sum(checked for _rule, checked, _failed in verdict.results[-1:]), verdict
    )
    (path,) = publish(folder, run, [validation], keep_runs=keep_runs, keep_days=keep_days)
    write_contents(folder, {UID: CLINIC, "unknown": "Без страниц"})
    return path


def traces(folder: Path, marks: tuple[str, ...] = MARKS) -> dict[str, list[str]]:
    """Return which files hold which marks: as they are, escaped as JSON does, or in their names."""
    found: dict[str, list[str]] = {}
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        content += path.name.encode()
        for mark in marks:
            escaped = json.dumps(mark).strip('"').encode()
            if mark.encode() in content or escaped in content or escaped.upper() in content.upper():
                found.setdefault(mark, []).append(path.name)
    return found
