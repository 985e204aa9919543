"""A large first load with a spoiled request in twenty: what stands in amoCRM is what stands without faults."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from deployments.sandbox.amocrm.server import StandIn
from deployments.sandbox.clinic.generator import ClinicSpec
from deployments.sandbox.compare import CONTACT_MARK, LEAD_MARK
from tests.faults.child import TIMEZONE
from tests.faults.judge import Verdict, look
from tests.faults.world import World, template

__all__ = ["Big", "big"]

RATE = 0.05
RUNS = 40
#: As installed; only that nobody waits a minute for an answer that never comes.
SETTINGS = {"IDENT_AMOCRM_WORKERS": "4", "IDENT_AMOCRM_READ_TIMEOUT": "10"}


class Big:
    """What was seen: requests spoiled, runs needed, differences to the database and to the fault-free state."""

    def __init__(self, world: World, verdict: Verdict, differing: int, seconds: float) -> None:
        self.world, self.verdict, self.differing, self.seconds = world, verdict, differing, seconds


def big(
    folder: Path, crm: StandIn, *, patients: int, appointments: int, seed: int, rate: float = RATE
) -> Big:
    """Load a clinic twice, with and without faults, and compare the two accounts."""
    began = time.monotonic()
    today = datetime.now(tz=ZoneInfo(TIMEZONE)).date()
    origin = template(
        folder / "origin", crm, ClinicSpec(today=today, patients=patients, appointments=appointments)
    )
    calm = World.copy(origin, crm, folder / "calm", seed)
    with calm.open():
        calm.settle()
        wanted = _content(crm)
    world = World.copy(origin, crm, folder / "stormy", seed)
    with world.open():
        for number in range(RUNS):
            told = world.run(rate=rate, seed=seed + number, settings=SETTINGS)
            world.clock.sleep(61)
            if not (told.code or told.planned or told.unknown):
                break
        verdict = world.settle()
        found = _content(crm)
    differing = sum(wanted.get(key) != found.get(key) for key in wanted.keys() | found.keys())
    return Big(world, verdict, differing, time.monotonic() - began)


def _content(crm: StandIn) -> dict[str, str]:
    """Everything of our cards but ids and moments that amoCRM gives out itself, by external id."""
    view, _notes = look(crm)
    owners = {row["id"]: view.mark(row, CONTACT_MARK) for row in view.contacts}
    found: dict[str, str] = {}
    for rows, code in ((view.contacts, CONTACT_MARK), (view.leads, LEAD_MARK)):
        for row in rows:
            mark = view.mark(row, code)
            content: dict[str, Any] = {
                "name": row["name"],
                "place": [row.get("pipeline_id"), row.get("status_id"), row.get("price")],
                "fields": sorted((name, str(value)) for name, value in view.values(row).items()),
                "tags": sorted(tag["name"] for tag in row["_embedded"]["tags"]),
                "contacts": [owners.get(one["id"]) for one in row["_embedded"].get("contacts") or ()],
            }
            text = json.dumps(content, ensure_ascii=False, sort_keys=True, default=str)
            found[mark] = found.get(mark, "") + text  # a twin makes a difference
    return found
