"""A clinic, an account in memory and a real ledger: what the tests of ``tasks.loading`` run on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pandas as pd
import sqlalchemy as sa

from tasks.destination import MappedCards
from tasks.errors import IdentAmocrmError
from tasks.ledger.hashing import FieldHasher
from tasks.ledger.store import Ledger
from tasks.ledger.tables import outcome as outcome_table
from tasks.loading.engine import load_plan
from tasks.loading.ports import Card, Load
from tasks.loading.recovery import recover
from tasks.mapping.model import FieldRule, PipelineRule, StageKey
from tasks.mapping.model import Mapping as CardMapping
from tasks.planning.diff import plan_cards, plan_links_and_notes
from tasks.records import (
    DATA,
    MAYBE_REMOVED,
    Action,
    CustomField,
    Kind,
    Outcome,
    OutcomeState,
    Pipeline,
    PlanRow,
    Stage,
)
from tests.support.fake_amocrm import MARK, UID, FakeAmo, mark

ACCOUNT = 1
PHONE, CITY, START, DOCTOR = 1, 3, 4, 5
PIPELINE, NEW, CAME, RESCHEDULED, DONE, WON, LOST = 100, 101, 102, 103, 104, 142, 143
STAGES = {
    StageKey.PLANNED: NEW,
    StageKey.ARRIVED: CAME,
    StageKey.RESCHEDULED: RESCHEDULED,
    StageKey.COMPLETED: DONE,
    StageKey.GONE: LOST,
}
PIPELINES = (
    Pipeline(
        PIPELINE,
        "Приёмы",
        1,
        True,
        False,
        tuple(
            Stage(stage, str(stage), sort, PIPELINE)
            for sort, stage in enumerate((NEW, CAME, RESCHEDULED, DONE, WON, LOST), 1)
        ),
    ),
)
RULE = PipelineRule(pipeline_id=PIPELINE, stages={**STAGES})
MAPPING = CardMapping(
    account_id=ACCOUNT,
    account_timezone="Europe/Moscow",
    contact=[
        FieldRule(datum="last_name", builtin="last_name"),
        FieldRule(datum="phone_mobile", field_id=PHONE, field_type="multitext", enum_code="MOB"),
        FieldRule(datum="city", field_id=CITY, field_name="Город"),
    ],
    lead=[
        FieldRule(datum="name", builtin="name"),
        FieldRule(datum="start_at", field_id=START, field_type="date_time", field_name="Начало"),
        FieldRule(datum="doctor", field_id=DOCTOR, field_name="Врач"),
    ],
    primary=RULE,
    repeat=RULE,
    contact_external_field=MARK,
    lead_external_field=MARK,
)


@dataclass
class Appointment:
    """An appointment as the plan step hands it over."""

    patient_id: int
    stage_key: str = "planned"
    start_at: str = "2026-03-12T07:00:00Z"
    doctor: str | None = "Петров Пётр"

    def texts(self) -> dict[str, str | None]:
        return dict.fromkeys(DATA[Kind.LEAD], None) | {
            "name": "Приём",
            "start_at": self.start_at,
            "doctor": self.doctor,
            "patient_id": str(self.patient_id),
            "stage": self.stage_key,
        }


@dataclass
class Run:
    """What one run planned and how each row ended."""

    rows: list[PlanRow]
    ended: dict[tuple[Kind, int], list[Outcome]]
    load: Load
    stopped: IdentAmocrmError | None = None

    def states(self, kind: Kind) -> dict[int, tuple[OutcomeState, str]]:
        return {key: (rows[0].state, rows[0].reason) for (of, key), rows in self.ended.items() if of is kind}


@dataclass
class Room:
    """A clinic with its ledger and its account."""

    ledger: Ledger
    amo: FakeAmo
    patients: dict[int, dict[str, str | None]] = field(default_factory=dict)
    appointments: dict[int, Appointment] = field(default_factory=dict)
    batch_size: int = 50
    workers: int = 1
    guard: Callable[[], None] = lambda: None
    hasher: FieldHasher = field(default_factory=lambda: FieldHasher(b"k" * 32, UID))
    runs: int = 0
    current: Load | None = None
    hashed: dict[tuple[Kind, int], tuple[dict[str, int], int]] = field(default_factory=dict)

    def add(self, patients: int, appointments: int = 0) -> None:
        for key in range(1, patients + 1):
            texts = {"last_name": f"Иванов{key}", "phone_mobile": f"+7900000{key:04}", "city": "Москва"}
            self.patients[key] = dict.fromkeys(DATA[Kind.CONTACT], None) | texts
        for key in range(1, appointments + 1):
            self.appointments[key] = Appointment((key - 1) % patients + 1)

    def open(self, run_id: str) -> Load:
        index = self.ledger.applied_index(UID, Kind.CONTACT)
        fields: tuple[CustomField, ...] = (CustomField(PHONE, "Телефон", "multitext", "PHONE"),)
        return Load(
            run_id=run_id,
            clinic_uid=UID,
            account_id=ACCOUNT,
            destination=self.amo,
            journal=self.ledger,
            cards=MappedCards(MAPPING, PIPELINES, fields, "Europe/Moscow"),
            hasher=self.hasher,
            guard=self.guard,
            request_hash=lambda _payload: 1,
            batch_size=self.batch_size,
            workers=self.workers,
            contact_ids=dict(zip(index.source_ids.tolist(), index.amo_ids.tolist(), strict=True)),
        )

    def texts(self, kind: Kind, key: int) -> dict[str, str | None]:
        return self.patients[key] if kind is Kind.CONTACT else self.appointments[key].texts()

    def plan(self, unknown: Mapping[Kind, frozenset[int]]) -> list[PlanRow]:
        """Plan as the plan step does, from the difference to the snapshot."""
        rows: list[PlanRow] = []
        for kind, keys in ((Kind.CONTACT, self.patients), (Kind.LEAD, self.appointments)):
            if not keys:
                continue
            texts = pd.DataFrame([self.texts(kind, key) for key in keys], index=pd.Index(keys), dtype="str")
            hashes = self.hasher.hash_frame(kind, texts)
            row_hashes = self.hasher.row_hashes(hashes)
            for key, values, row_hash in zip(keys, hashes.to_dict("records"), row_hashes, strict=True):
                self.hashed[kind, key] = (
                    {str(name): int(one) for name, one in values.items()},
                    int(row_hash),
                )
            index = self.ledger.applied_index(UID, kind)
            found = plan_cards(
                kind,
                hashes,
                row_hashes,
                (index.source_ids, index.row_hashes),
                lambda ids, kind=kind: self.ledger.applied_rows(UID, kind, ids),  # type: ignore[misc]
                DATA[kind],
                {},
            )
            kept_back = unknown.get(kind, frozenset()) | {
                row.source_id
                for _uid, row in self.ledger.rejects(UID)
                if (row.entity, row.reason) == (kind.value, MAYBE_REMOVED)
            }
            rows += [
                row for row in found.rows if row.action is not Action.CREATE or row.source_id not in kept_back
            ]
        leads = [row for row in rows if row.kind is Kind.LEAD]
        rows += plan_links_and_notes(leads)
        owed = self.ledger.open_keys(UID).get(Kind.LINK, frozenset()) - {row.source_id for row in leads}
        known = self.ledger.applied_rows(UID, Kind.LEAD, owed)
        return rows + [PlanRow(Kind.LINK, key, Action.UPDATE, ("patient_id",)) for key in sorted(known)]

    def card(self, row: PlanRow) -> Card:
        kind = Kind.CONTACT if row.kind is Kind.CONTACT else Kind.LEAD
        hashes, row_hash = self.hashed[kind, row.source_id]
        known = self.ledger.applied_rows(UID, row.kind, [row.source_id]).get(row.source_id)
        owner = self.appointments[row.source_id] if kind is Kind.LEAD else None
        return Card(
            row=row,
            external_id=mark(kind, row.source_id),
            texts=self.texts(kind, row.source_id),
            hashes=hashes,
            row_hash=row_hash,
            stage_key=owner.stage_key if owner else "",
            is_primary=True,
            patient_id=owner.patient_id if owner else None,
            known=known,
        )

    def run(self, now: float = 0.0) -> Run:
        """Recover, plan and load; an error that stops the run is kept, not raised."""
        self.runs += 1
        run_id = f"r{self.runs}"
        load = self.open(run_id)
        unknown = recover(load, mark, now)
        load = self.current = self.open(run_id)
        planned = self.plan(unknown)
        self.ledger.save_plan(run_id, UID, planned)
        stopped: IdentAmocrmError | None = None
        try:
            load_plan(load, planned, self.card, lambda: self.ledger.settled(run_id))
        except IdentAmocrmError as error:
            stopped = error
        return Run(planned, self.ended(run_id), load, stopped)

    def ended(self, run_id: str) -> dict[tuple[Kind, int], list[Outcome]]:
        query = sa.select(outcome_table).where(outcome_table.c.run_id == run_id)
        found: dict[tuple[Kind, int], list[Outcome]] = {}
        with self.ledger.database.read() as connection:
            for row in connection.execute(query).mappings():
                kind, state = Kind(row["kind"]), OutcomeState(row["state"])
                ended = Outcome(run_id, kind, row["source_id"], state, row["reason"], row["field"])
                found.setdefault((kind, row["source_id"]), []).append(ended)
        return found
