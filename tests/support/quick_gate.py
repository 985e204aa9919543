"""The verdict of the rules that the demo clinics break, without Great Expectations' second a frame.

For tests of what follows from a verdict. tests/expectations/test_quick_gate.py holds it against the suites.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

import pandas as pd

from expectations import gate
from expectations.gate import Verdict
from expectations.thresholds import Thresholds
from expectations.whole import Whole
from tasks.frames import Entity

__all__ = ["install", "judge"]


WITHHELD = {"phone_mobile_e164", "phone_other_e164"}
E164 = r"\+[1-9]\d{7,14}"


def install() -> None:
    """Let this process judge quickly, for good."""
    gate.validate = judge


def judge(
    frame: pd.DataFrame,
    entity: Entity,
    *,
    references: Mapping[str, Collection[int]] | None = None,
    now: datetime,
    accepted: Collection[tuple[int | None, str]] = (),
    thresholds: Thresholds | None = None,
    whole: Whole | None = None,
    is_last: bool = False,
) -> Verdict:
    del now, accepted, thresholds, whole, is_last
    verdict = Verdict(frame.copy(deep=False))
    kept_back = pd.Series(data=False, index=frame.index)
    for code, column, wrong in _rules(frame, entity, references or {}):
        keys = [int(key) for key in frame.loc[wrong].iloc[:, 0]]
        failures = [(key, code, column, "info" if code == "no_patient" else "error") for key in keys]
        if code in WITHHELD:
            verdict.withheld += failures
            verdict.taken_out += [(key, column) for key in keys]
            verdict.good[column] = frame[column].where(~wrong).astype(frame[column].dtype)
            continue
        (verdict.skipped if code == "no_patient" else verdict.rejects).extend(failures)
        kept_back |= wrong
    verdict.good = verdict.good[~kept_back].reset_index(drop=True)
    return verdict


def _rules(
    frame: pd.DataFrame, entity: Entity, references: Mapping[str, Collection[int]]
) -> list[tuple[str, str, pd.Series[bool]]]:
    if entity is Entity.PATIENT:
        nameless = frame["last_name"].isna() & frame["first_name"].isna()
        phones = [
            (f"{name}_e164", name, frame[name].notna() & ~frame[name].fillna("").str.fullmatch(E164))
            for name in ("phone_mobile", "phone_other")
        ]
        return [("name_present", "last_name", nameless), *phones]
    owner = frame["patient_id"]
    known = set(references["patients"])
    return [
        ("no_patient", "patient_id", owner.isna()),
        ("patient_known", "patient_id", owner.notna() & ~owner.isin(known)),
        ("start_at_present", "start_at", frame["start_at"].isna()),
        ("end_not_before_start", "end_at", (frame["end_at"] < frame["start_at"]).fillna(value=False)),
    ]
