"""Each defect of a dirty clinic is caught by the rule that is meant for it, and no clean row is kept back."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pandas as pd
import pytest

from expectations.suites import SUITES
from expectations.whole import Whole
from tasks.frames import Entity
from tests.expectations.dirt import NOW, Judged, changed, check, judge, read, whole_of

FIXED = 7
#: Chosen anew in each run of the tests, and shown with the table.
CHANCE = tuple(random.SystemRandom().sample(range(1, 1_000_000), 3))


@pytest.fixture(
    scope="module", params=[FIXED, *CHANCE], ids=lambda seed: "fixed" if seed == FIXED else "chance"
)
def judged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Judged:
    found = judge(tmp_path_factory.mktemp("dirty"), request.param)
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        request.config.get_terminal_writer().line(f"\nDirty clinic, seed {request.param}\n{confusion(found)}")
    return found


def confusion(found: Judged) -> str:
    """Defects by kind: how many, caught by the rule meant for them, by other rules."""
    kinds: dict[tuple[str, str, str], list[set[str]]] = {}
    for defect in found.defects:
        caught = found.caught.get((defect.entity, defect.key), set())
        kinds.setdefault((defect.kind, defect.entity, defect.code), []).append(caught)
    lines = [f"{'defect':34} {'entity':12} {'rule':28} planted caught other"]
    for (kind, entity, code), found_by in sorted(kinds.items()):
        right = sum(code in codes for codes in found_by)
        others = sum(bool(codes - {code}) for codes in found_by)
        lines.append(f"{kind:34} {entity:12} {code:28} {len(found_by):7} {right:6} {others:5}")
    labelled = {(defect.entity, defect.key) for defect in found.defects}
    wrong = found.kept_or_withheld() - labelled
    clean = sum(len(frame) for frame in found.frames.values()) - len(labelled)
    lines.append(f"clean rows {clean}, of them kept back or incomplete {len(wrong)}")
    return "\n".join(lines)


def test_there_are_defects_of_many_kinds(judged: Judged) -> None:
    assert len({defect.kind for defect in judged.defects}) >= 50
    assert {rule.code for rules in SUITES.values() for rule in rules} >= {one.code for one in judged.defects}


def test_each_defect_is_caught_by_the_rule_meant_for_it_and_by_no_other(judged: Judged) -> None:
    wrong = [
        (defect, caught)
        for defect in judged.defects
        if (caught := judged.caught.get((defect.entity, defect.key), set())) != {defect.code}
    ]
    assert wrong == []


def test_no_clean_row_is_kept_back_and_none_loses_a_value(judged: Judged) -> None:
    labelled = {(defect.entity, defect.key) for defect in judged.defects}
    assert judged.kept_or_withheld() - labelled == set()
    assert all(verdict.stop == [] for verdict in judged.verdicts.values())
    assert all(verdict.remarks == [] for verdict in judged.verdicts.values())


def test_every_row_goes_on_or_is_listed(judged: Judged) -> None:
    listed = judged.caught.keys()
    for entity, frame in judged.frames.items():
        passed = {int(key) for key in judged.verdicts[entity].good.iloc[:, 0]}
        lost = {int(key) for key in frame.iloc[:, 0]} - passed
        assert lost
        assert {(entity.value, key) for key in lost} <= listed


# ---- rules about the table as a whole ----------------------------------------------------------------------


@dataclass(frozen=True)
class Trouble:
    """Something wrong with a table, or with what is known of it."""

    kind: str
    code: str
    stops: bool
    spoil: Callable[[pd.DataFrame, Whole], tuple[pd.DataFrame, Whole]]
    entities: tuple[Entity, ...] = (Entity.PATIENT, Entity.APPOINTMENT)


def _empty_column(frame: pd.DataFrame) -> pd.DataFrame:
    name = "city" if "city" in frame else "cabinet"
    return frame.assign(**{name: pd.Series(pd.NA, index=frame.index).astype(frame[name].dtype)})


def _without_phones(frame: pd.DataFrame) -> pd.DataFrame:
    kept = frame["phone_mobile"].where(frame.index % 2 == 0).astype("str")
    return frame.assign(phone_mobile=kept, phone_other=kept)


TROUBLES = (
    Trouble("a column too many", "columns", True, lambda frame, whole: (frame.assign(diagnosis="x"), whole)),
    Trouble(
        "a key of another type",
        "column_types",
        True,
        lambda frame, whole: (frame.assign(**{frame.columns[0]: frame.iloc[:, 0].astype("float64")}), whole),
    ),
    Trouble("an emptied column", "columns_emptied", True, lambda frame, whole: (_empty_column(frame), whole)),
    Trouble(
        "an emptied table",
        "rows_volume",
        True,
        lambda frame, whole: (frame, changed(whole, rows=len(frame) // 2)),
    ),
    Trouble(
        "two clinics in one",
        "rows_volume",
        True,
        lambda frame, whole: (frame, changed(whole, rows=len(frame) * 2)),
    ),
    Trouble(
        "many deleted rows",
        "keys_vanished",
        False,
        lambda frame, whole: (frame, changed(whole, vanished=len(frame) // 10)),
    ),
    Trouble(
        "many without a phone",
        "phones_missing",
        False,
        lambda frame, whole: (_without_phones(frame), whole),
        (Entity.PATIENT,),
    ),
    Trouble(
        "a copy that nobody works in",
        "source_fresh",
        False,
        lambda frame, whole: (
            frame,
            changed(whole, newest_change=NOW.replace(tzinfo=None) - timedelta(days=3)),
        ),
        (Entity.APPOINTMENT,),
    ),
)
CASES = [(trouble, entity) for trouble in TROUBLES for entity in trouble.entities]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> dict[Entity, pd.DataFrame]:
    _defects, frames = read(tmp_path_factory.mktemp("clean"), seed=FIXED, dirty=False)
    return frames


@pytest.mark.parametrize(
    ("trouble", "entity"), CASES, ids=[f"{trouble.kind}-{entity}" for trouble, entity in CASES]
)
def test_a_trouble_of_the_table_is_caught_by_its_rule_alone(
    clean: dict[Entity, pd.DataFrame], trouble: Trouble, entity: Entity
) -> None:
    frame, whole = trouble.spoil(clean[entity], whole_of(clean[entity]))
    verdict = check(entity, frame, clean[Entity.PATIENT], whole)
    assert (verdict.stop, verdict.remarks) == (
        ([trouble.code], []) if trouble.stops else ([], [trouble.code])
    )


def test_a_status_that_is_not_one_is_caught(clean: dict[Entity, pd.DataFrame]) -> None:
    frame = clean[Entity.APPOINTMENT].copy()
    frame.loc[0, "status"] = "lost"
    verdict = check(Entity.APPOINTMENT, frame, clean[Entity.PATIENT])
    key = int(frame["appointment_id"][0])
    assert [code for found, code, *_rest in verdict.rejects if found == key] == ["status_known"]


def test_a_clean_clinic_passes_but_for_its_broken_phones(clean: dict[Entity, pd.DataFrame]) -> None:
    for entity, frame in clean.items():
        verdict = check(entity, frame, clean[Entity.PATIENT])
        assert (verdict.stop, verdict.remarks, verdict.rejects) == ([], [], [])
        assert {code for _key, code, *_rest in verdict.withheld} <= {"phone_mobile_e164"}


# ---- no rule is there for nothing --------------------------------------------------------------------------

RULES = [(entity, rule.code) for entity, rules in SUITES.items() for rule in rules]
OF_TABLES = {(entity, trouble.code) for trouble, entity in CASES} | {(Entity.APPOINTMENT, "status_known")}


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    return judge(tmp_path_factory.mktemp("fixed"), FIXED)


@pytest.mark.parametrize(("entity", "code"), RULES, ids=[f"{entity}-{code}" for entity, code in RULES])
def test_without_a_rule_some_defect_would_be_missed(fixed: Judged, entity: Entity, code: str) -> None:
    """Of a table's troubles another test shows it: there the rule is the only one that fails."""
    missed = [
        defect
        for defect in fixed.defects
        if defect.entity == entity.value
        and fixed.caught.get((defect.entity, defect.key), set()) - {code} == set()
        and defect.code == code
    ]
    assert missed or (entity, code) in OF_TABLES
