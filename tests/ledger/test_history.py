from __future__ import annotations

from pathlib import Path

from tasks.ledger.store import Ledger
from tasks.records import Action, AppliedRow, Kind, Outcome, OutcomeState, PlanRow, Reject

UID, OTHER = "u", "v"


def test_a_row_remembers_its_plans_with_their_ends(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}").open()
    ledger.save_plan("r1", UID, [PlanRow(Kind.LEAD, 1, Action.CREATE), PlanRow(Kind.LEAD, 2, Action.CREATE)])
    ledger.record_outcomes(UID, [Outcome("r1", Kind.LEAD, 1, OutcomeState.DEFERRED, "waits_for_patient")])
    ledger.save_plan("r2", UID, [PlanRow(Kind.LEAD, 1, Action.MOVE, ("start_at", "stage"), 11)])
    ledger.save_plan("r3", OTHER, [PlanRow(Kind.LEAD, 1, Action.CREATE)])
    ledger.save_plan("r4", UID, [PlanRow(Kind.CONTACT, 1, Action.CREATE)])
    newest, first = ledger.plans_of(UID, Kind.LEAD, 1)
    assert (newest.run_id, newest.action, newest.changed) == ("r2", Action.MOVE, ("start_at", "stage"))
    assert (newest.state, newest.ended_at) == (None, None)
    assert (first.run_id, first.state, first.reason) == ("r1", OutcomeState.DEFERRED, "waits_for_patient")
    assert [row.run_id for row in ledger.plans_of(UID, Kind.LEAD, 1, limit=1)] == ["r2"]
    assert ledger.plans_of(UID, Kind.LEAD, 3) == []
    assert ledger.waiting_since(UID, Kind.LEAD, 1) is not None
    assert ledger.waiting_since(UID, Kind.NOTE, 1) is None
    ledger.close()


def test_what_holds_a_row_and_when_it_was_applied(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}").open()
    ledger.add_rejects(
        UID, [Reject("contact", 1, "InvalidType", "Пол", 7), Reject("patient", 1, "name_present")]
    )
    ledger.add_rejects(UID, [Reject("patient", 2, "name_present")])
    ledger.add_rejects(OTHER, [Reject("patient", 1, "name_present")])
    ledger.release(UID, "contact", [1])
    held = ledger.held_rows(UID, ("patient", "contact"), [1])
    assert [(row.reject.entity, row.reject.reason, row.reject.field, row.released) for row in held] == [
        ("contact", "InvalidType", "Пол", True),
        ("patient", "name_present", "", False),
    ]
    assert ledger.held_rows(UID, ("lead",), [1]) == []
    assert ledger.applied_at(UID, Kind.CONTACT, 1) is None
    ledger.apply_local(UID, 5, [AppliedRow(Kind.CONTACT, 1, 11, 7, {})])
    assert ledger.applied_at(UID, Kind.CONTACT, 1) is not None
    ledger.close()
