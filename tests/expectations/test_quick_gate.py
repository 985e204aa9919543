"""The quick judge of other tests says of a demo clinic what the suites say."""

from __future__ import annotations

import pandas as pd
import pytest

from deployments.sandbox.clinic.generator import ClinicSpec, generate
from deployments.sandbox.clinic.store import write_sqlite
from expectations.gate import Verdict, validate
from tasks.frames import Entity
from tasks.ident.connection import IdentConnection, build_engine
from tasks.ident.marks import Window
from tasks.ident.reader import IdentReader
from tests.support import quick_gate
from tests.support.clinic_database import TIMEZONE, clinic_now

SPEC = ClinicSpec(today=clinic_now().date(), patients=300, appointments=900)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> dict[Entity, pd.DataFrame]:
    database = tmp_path_factory.mktemp("clinic") / "clinic.db"
    write_sqlite(generate(SPEC), database)
    connection = IdentConnection(driver="sqlite", database=str(database), timezone=TIMEZONE)
    reader = IdentReader(build_engine(connection), connection)
    everything = reader.everything(Window())
    pages = {
        Entity.PATIENT: reader.patients(everything.patients),
        Entity.APPOINTMENT: reader.appointments(everything.appointments),
    }
    return {entity: pd.concat([*found], ignore_index=True) for entity, found in pages.items()}


def said(verdict: Verdict) -> dict[str, object]:
    return {
        "rejects": sorted(verdict.rejects),
        "withheld": sorted(verdict.withheld),
        "skipped": sorted(verdict.skipped),
        "good": verdict.good.iloc[:, 0].tolist(),
    }


@pytest.mark.parametrize("entity", list(Entity))
def test_it_says_what_the_suites_say(entity: Entity, frames: dict[Entity, pd.DataFrame]) -> None:
    # A few patients are missing, so that some appointments have none.
    known = set(frames[Entity.PATIENT]["patient_id"].tolist()[10:])
    references = {"patients": known}
    quick = quick_gate.judge(frames[entity], entity, references=references, now=clinic_now())
    thorough = validate(frames[entity], entity, references=references, now=clinic_now())
    assert said(quick) == said(thorough)
    assert thorough.stop == []
    assert any(said(thorough)[name] for name in ("rejects", "withheld"))
