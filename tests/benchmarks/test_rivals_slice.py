"""A small slice of the rivals' measurement: what is read, judged and told; the rivals' interpreter is not needed.

The side of the slice is a loop of five lines over the rivals' own reading, in the test's process: it doubles
what a rival doubles. Our own side has its slice in test_bench_slice.py, with the servers it needs.
"""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import requests
import typer
from typer.testing import CliRunner

from deployments.sandbox.amocrm.server import StandIn
from deployments.sandbox.clinic.generator import ClinicSpec, generate
from deployments.sandbox.clinic.store import write_sqlite
from deployments.sandbox.compare import sqlite_rows
from deployments.sandbox.rivals.judge import Standing, Wanted, judge, wanted_of_ours, wanted_of_rivals
from deployments.sandbox.rivals.reading import MARKS, contact, lead, patients, visits
from deployments.sandbox.rivals.sides import Load, Place, Side, rivals

measurement = importlib.import_module("deployments.sandbox.rivals.__main__")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "a.db"
    write_sqlite(generate(ClinicSpec(patients=12, appointments=40, today=date(2026, 3, 10))), path)
    return path


def test_rivals_and_we_bring_the_same_number_of_cards(database: Path) -> None:
    ours, theirs = wanted_of_ours(database), wanted_of_rivals(database)
    assert theirs.contacts == ours.contacts
    assert len(theirs.leads) == len(ours.leads) > 12
    rescheduled = {row["ID_ReceptionsTransferFrom"] for row in sqlite_rows(database)("Receptions")} - {None}
    assert rescheduled, "the clinic of the slice has a chain"
    assert not rescheduled & {row["id"] for row in visits(database)}


def row(code: str, mark: str, mail: str = "") -> dict[str, Any]:
    fields = [{"field_code": code, "values": [{"value": mark}]}]
    if mail:
        fields.append({"field_code": "EMAIL", "values": [{"value": mail}]})
    return {"custom_fields_values": fields}


def test_the_judge_counts_second_cards_and_what_is_missing() -> None:
    person, visit = MARKS["contacts"], MARKS["leads"]
    account = {
        "contacts": [
            row(person, "IDENT-c1-P-1", "old@example.org"),
            row(person, "IDENT-c1-P-1", "new@example.org"),
            row(person, "2", "old@example.org"),
            {"custom_fields_values": None},
        ],
        "leads": [row(visit, "7"), row(visit, "7"), row(visit, "7")],
    }
    wanted = Wanted(
        {"1": "new@example.org", "2": "new@example.org", "3": None, "4": None}, frozenset({"7", "8"})
    )
    # 2 has an e-mail of before, 3, 4 and 8 have no card.
    assert judge(account, wanted) == Standing(cards=6, doubled=3, lost=4)
    assert judge(account, wanted).arrived == 3


@contextmanager
def loop(place: Place) -> Iterator[Load]:
    """Be the loop that a user writes: each card is created, a request that broke is sent again."""
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {place.token.read_text(encoding='utf-8')}"
        session.trust_env = False

        def send(kind: str, card: dict[str, Any]) -> int:
            while True:
                try:
                    answer = session.post(f"{place.crm}/api/v4/{kind}", json=[card], timeout=10)
                except requests.ConnectionError:
                    continue
                answer.raise_for_status()
                return int(answer.json()["_embedded"][kind][0]["id"])

        def load() -> bool:
            ids = {one["id"]: send("contacts", contact(one)) for one in patients(place.database)}
            for one in visits(place.database):
                send("leads", lead(one, ids[one["patient_id"]]))
            return True

        for kind, fields in (("contacts", ()), ("leads", (("START_AT", "date_time"), ("DOCTOR", "text")))):
            body = [
                {"name": code, "code": code, "type": one} for code, one in ((MARKS[kind], "text"), *fields)
            ]
            session.post(f"{place.crm}/api/v4/{kind}/custom_fields", json=body, timeout=10).raise_for_status()
        yield load


@contextmanager
def in_a_thread(folder: Path, _around: dict[str, str], _latency_ms: int) -> Iterator[str]:
    with StandIn(limit=None) as crm:
        (folder / "token").write_text(crm.token, encoding="utf-8")
        yield crm.url


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setattr(measurement, "stand_in", in_a_thread)
    side = Side("loop", batches=False, ready=loop, wanted=wanted_of_rivals)
    found: list[Any] = measurement.compare(tmp_path, [((12, 40), [side])], note=lambda _text: None)
    return found


def test_a_loop_doubles_all_when_it_runs_again_and_what_broke_when_it_repeats(runs: list[Any]) -> None:
    first, again, changed, losing = runs
    assert [run.what for run in runs] == list(measurement.RUNS)
    cards = first.arrived
    assert cards > 12 + 12
    assert (first.doubled, first.lost, first.requests) == (0, 0, cards)
    assert (again.arrived, again.doubled, again.lost) == (0, cards, 0)
    assert (changed.arrived, changed.doubled, changed.lost) == (0, cards, 0)
    # Each twentieth answer to a POST is lost, the first one too, and what is repeated counts as well.
    lost = next(number for number in range(cards) if (cards + number + 19) // 20 == number)
    assert (losing.arrived, losing.doubled, losing.lost, losing.requests) == (cards, lost, 0, cards + lost)


def test_it_fails_when_our_side_doubles_or_loses(runs: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer()
    app.command()(measurement.main)
    ours = [replace(run, side=measurement.OURS, doubled=0) for run in runs]
    for told, code in (
        (ours, 0),
        ([*ours[:3], replace(ours[3], doubled=1)], 1),
        ([replace(ours[0], lost=1), *ours[1:]], 1),
    ):
        monkeypatch.setattr(measurement, "compare", lambda *_work, told=told, **_options: [*told, *runs])
        done = CliRunner().invoke(app, ["--output", "json"])
        assert done.exit_code == code
        shown = json.loads(done.stdout)
        assert len(shown["unsound"]) == code
        assert [run["doubled"] for run in shown["runs"][4:]] == [run.doubled for run in runs]
    text = CliRunner().invoke(app, [], env={"COLUMNS": "250"}).stdout
    assert "1.00x" in text


def test_without_the_rivals_it_says_how_to_get_them(
    runs: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = [replace(run, side=measurement.OURS, doubled=0) for run in runs]
    asked = list[list[str]]()

    def compared(_folder: Path, work: Any, **_options: Any) -> list[Any]:
        asked.append([side.name for _size, sides in work for side in sides])
        return ours

    monkeypatch.setattr(measurement, "compare", compared)
    app = typer.Typer()
    app.command()(measurement.main)
    done = CliRunner().invoke(app, ["--python", str(tmp_path / "none")])
    assert done.exit_code == 0
    assert "make .venv-rivals" in done.stderr
    CliRunner().invoke(app, ["--python", shutil.which("python3") or ""])
    rival = [side.name for side in rivals(tmp_path)]
    assert [sorted(names) for names in asked] == [[measurement.OURS], sorted([measurement.OURS, *rival])]
