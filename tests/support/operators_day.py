"""A day of an operator at the Prefect UI: one clinic, one account, and what the story asks again and again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.sandbox.amocrm.server import StandIn
from tasks.blocks import slug
from tasks.gate import load_mapping
from tasks.ledger.store import Ledger
from tasks.records import Reject
from tasks.settings import Settings
from tests.support.in_browser import Operator

__all__ = ["CLINIC", "Day", "furnish", "keep_back", "remembered"]

CLINIC = "Улыбка"


@dataclass
class Day:
    """The operator and the file that stands for the clinic's database."""

    operator: Operator
    database: Path

    @property
    def away(self) -> Path:
        return self.database.with_suffix(".away")

    def ended(self, run: str, *wanted: str) -> None:
        """Wait for the end of a run, and read what it says on its page."""
        state = self.operator.ends(run)
        assert all(text in state["message"] for text in wanted), self.operator.logs(run)
        message = self.operator.shown(f"runs/flow-run/{run}?tab=Details", ".p-key-value", "State Message")
        if (more := message.get_by_text("See More")).count():
            more.click()
        shown = " ".join(message.inner_text().split())
        assert all(text in shown for text in wanted), shown

    def health(self) -> str:
        """Run the health check now, and read the clinic's page; a check that meets the scheduled one gives way."""
        while self.operator.ends(self.operator.start("health-check", {}))["type"] == "CANCELLED":
            time.sleep(1)
        path = f"artifacts/artifact/{self.artifact('health')['id']}"
        return self.operator.shown(path, ".markdown-renderer", "Проверено").inner_text()

    def artifact(self, what: str) -> Any:
        """The clinic's newest artifact of a kind."""
        body = {
            "artifacts": {"key": {"any_": [f"{what}-{slug(CLINIC)}"]}},
            "sort": "CREATED_DESC",
            "limit": 1,
        }
        (found,) = self.operator.ask("artifacts/filter", body)
        return found

    def transferred(self) -> int:
        """How many runs that nobody started completed."""
        body = {
            "deployments": {"id": {"any_": [self.operator.deployment(CLINIC, "sync")]}},
            "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}, "tags": {"all_": ["auto-scheduled"]}},
        }
        return len(self.operator.ask("flow_runs/filter", body))

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        ledger = Ledger(Settings(home=self.operator.home).ledger_url).open()
        try:
            yield ledger
        finally:
            ledger.close()

    def mapping(self) -> Any:
        with self.ledger() as ledger:
            known = ledger.setting("installation", "amocrm") or {}
            return load_mapping(ledger, int(known["account_id"]))


def furnish(crm: StandIn) -> None:
    """Put a pipeline and two fields into the account, under names that are only similar."""
    state = crm.sandbox.state
    pipeline = state.add_pipeline("Первичные приёмы", sort=10, is_main=False, is_unsorted_on=False)
    state.add_status(pipeline, "Записан на прием", 20, None)
    doctor = state.add_field("leads", "Доктор", "select", None)
    doctor.enums = {}
    state.add_enum(doctor, "Был до нас", 10, None)
    state.add_field("contacts", "День рождения", "birthday", None)


def remembered(operator: Operator) -> str:
    """What the browser keeps: Prefect's UI keeps a form that was left half filled in."""
    return str(operator.page.evaluate("JSON.stringify([{...sessionStorage}, {...localStorage}])"))


def keep_back(day: Day) -> None:
    """List rows of a clinic as the runs do."""
    rows = [Reject("patient", key, "phone_mobile_e164", "phone_mobile") for key in range(811, 834)]
    rows += [Reject("patient", key, "name_present", "last_name") for key in (902, 907)]
    rows += [
        Reject("appointment", key, "patient_kept_back", "patient_id", held_by=902) for key in (4711, 4712)
    ]
    rows += [Reject("appointment", 4801, "end_not_before_start", "end_at")]
    rows += [Reject("contact", 640, "NotSupportedChoice", "Пол", 5)]
    with day.ledger() as ledger:
        ledger.add_rejects(ledger.connection(CLINIC).clinic_uid, rows)
