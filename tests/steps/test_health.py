"""The health check: what it sees, what the operator reads, and one event for each change."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from deployments.sandbox.amocrm.server import StandIn
from tasks import health, subscribe, vitals
from tasks.blocks import AmoCrmAccount, IdentDatabase
from tasks.checks import Check, CheckState
from tasks.connections import open_source
from tasks.errors import AuthenticationError, DatabaseUnavailableError, SchemaError
from tasks.events import PREFIX, emit, emit_missed
from tasks.health import record_change
from tasks.health_page import health_markdown
from tasks.hints import HINTS, hint
from tasks.launch import LAUNCH
from tasks.lights import DATABASE, DONE, SERVER, database_lights
from tasks.records import Action, Batch, Kind, Reject
from tasks.transfer import start_transfer, stop_transfer
from tests.support.sandbox_installation import CLINIC, TOKEN, SandboxInstallation, sandbox_installation

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxInstallation]:
    with (
        pytest.MonkeyPatch.context() as patch,
        StandIn(token=TOKEN, limit=None, index_lag=0) as crm,
        sandbox_installation(
            tmp_path_factory.mktemp("clinic"), crm, patch, patients=5, appointments=10
        ) as found,
    ):
        found.connect()
        record = found.ledger.connection(CLINIC)
        start_transfer(found.ledger, record, datetime.now(tz=UTC).date(), history_days=None, by="test")
        found.ledger.start_run("r", found.uid, "full", by="test")
        found.ledger.finish_run("r", "completed", {})
        found.remember()
        yield found


@pytest.fixture
def clinic(site: SandboxInstallation) -> SandboxInstallation:
    site.recall()
    return site


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    found: dict[str, str] = {}
    monkeypatch.setattr(
        health, "create_markdown_artifact", lambda page, *, key, description: found.update({key: page})
    )
    return found


def look(clinic: SandboxInstallation) -> dict[str, str]:
    """Check once, and return the states of the clinic."""
    return health.health.fn()[CLINIC]


def events(clinic: SandboxInstallation) -> list[str]:
    rows = clinic.ledger.audit(event_prefix=f"{PREFIX}health.", order="asc")
    return [row.event.rpartition(".")[2] for row in rows]


def test_a_clinic_that_is_well(clinic: SandboxInstallation, shown: dict[str, str]) -> None:
    assert set(look(clinic).values()) == {"ok"}
    page = shown[f"health-{CLINIC}"]
    assert page.count(DONE) == 3, "the three lights: server, database, amoCRM"
    for words in ("Всё работает", "Связка настроена", "Бесплатный пробный период", "Контакты поддержки:"):
        assert words in page
    look(clinic)
    assert events(clinic) == ["ok"]


def test_red_with_its_cause_within_one_check_and_recovered(
    clinic: SandboxInstallation, shown: dict[str, str]
) -> None:
    look(clinic)
    away = clinic.database.with_suffix(".away")
    clinic.database.rename(away)
    for _ in range(3):
        found = look(clinic)
    assert (found[SERVER], found[DATABASE]) == ("ok", "failed")
    page = shown[f"health-{CLINIC}"]
    assert HINTS["database_missing"] in page
    assert "docs/ru/problems.md#database_missing" in page
    away.rename(clinic.database)
    look(clinic)
    look(clinic)
    assert events(clinic) == ["ok", "failed", "recovered"]


def test_since_when_is_kept_until_it_changes(clinic: SandboxInstallation) -> None:
    record = clinic.ledger.connection(CLINIC)
    bad = Check(DATABASE, CheckState.FAILED, "authentication")
    first = record_change(clinic.ledger, record, [bad, Check("Часы", CheckState.OK)])
    scope = f"clinic:{clinic.uid}"
    stored: dict[str, Any] = clinic.ledger.setting(scope, "health") or {}
    stored["checks"][DATABASE]["since"] = "2026-01-01T00:00:00+00:00"
    clinic.ledger.put_setting(scope, "health", stored, by="test")
    again = record_change(clinic.ledger, record, [bad, Check("Часы", CheckState.WARNING, "clock")])
    assert again[DATABASE] == "2026-01-01T00:00:00+00:00"
    assert again["Часы"] >= first["Часы"]
    page = health_markdown(CLINIC, [bad], again, datetime.now(tz=UTC), clinic.settings)
    assert "01.01.2026 00:00" in page


@pytest.mark.parametrize(
    ("error", "server", "database"),
    [
        (None, "", ""),
        (DatabaseUnavailableError(problem="", remedy=""), "database_unavailable", "server_first"),
        (DatabaseUnavailableError(problem="", remedy="", code="locked"), "", "locked"),
        (AuthenticationError(problem="", remedy=""), "", "authentication"),
    ],
)
def test_lights(error: Any, server: str, database: str) -> None:
    assert database_lights(error) == (server, database)


def test_the_schema_is_a_check_of_its_own(
    clinic: SandboxInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shrunk(*_arguments: object) -> None:
        raise SchemaError(problem="", remedy="", code="schema_shrunk")

    monkeypatch.setattr(vitals, "open_source", shrunk)
    found = vitals.check_database(clinic.settings, clinic.ledger.connection(CLINIC))
    assert [(one.name, one.code) for one in found] == [
        (SERVER, ""),
        (DATABASE, ""),
        (vitals.SCHEMA, "schema_shrunk"),
    ]


def test_a_refused_login_offers_the_letter(
    clinic: SandboxInstallation, shown: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_arguments: object) -> None:
        raise AuthenticationError(problem="", remedy="")

    clinic.secrets[CLINIC] = clinic.connection().model_copy(
        update={"driver": "auto", "host": "10.0.0.5", "database": "PZ", "password": SecretStr("hidden")}
    )
    monkeypatch.setattr(vitals, "open_source", refused)
    look(clinic)
    page = shown[f"health-{CLINIC}"]
    for words in ("mailto:support@ident-it.ru", "10.0.0.5:15000", "readonly_user", "База данных: PZ"):
        assert words in page
    assert "hidden" not in page


def stop(clinic: SandboxInstallation) -> None:
    stop_transfer(clinic.ledger, clinic.ledger.connection(CLINIC), by="test")


def lag(clinic: SandboxInstallation) -> None:
    with clinic.ledger.database.write() as link:
        link.exec_driver_sql("UPDATE run SET finished_at = finished_at - 700")


def narrow(clinic: SandboxInstallation) -> None:
    today = datetime.now(tz=UTC).date()
    clinic.ledger.put_setting(f"clinic:{clinic.uid}", LAUNCH, {"to_day": str(today)}, by="test")


def reject(clinic: SandboxInstallation) -> None:
    rows = [Reject("patient", key, "rule", "phone_mobile") for key in range(1, 20)]
    clinic.ledger.add_rejects(clinic.uid, rows)


def lose(clinic: SandboxInstallation) -> None:
    clinic.ledger.begin_attempt("r", clinic.uid, 1, Batch(Kind.CONTACT, Action.CREATE, (1,), 5, 0))
    with clinic.ledger.database.write() as link:
        link.exec_driver_sql("UPDATE attempt SET started_at = started_at - 3600")


def unpaid(clinic: SandboxInstallation) -> None:
    clinic.crm.admin("settings", {"paid": False})


def unconfigured(clinic: SandboxInstallation) -> None:
    with clinic.ledger.database.write() as link:
        link.exec_driver_sql("DELETE FROM setting WHERE name = 'mapping'")


TROUBLES: list[tuple[Callable[[SandboxInstallation], None], str, str, str]] = [
    (stop, vitals.TRANSFER, "warning", "stopped"),
    (lag, vitals.TRANSFER, "failed", "lagging"),
    (narrow, vitals.TRANSFER, "warning", "window_ends"),
    (reject, vitals.ROWS, "warning", "rejects_growing"),
    (lose, vitals.ROWS, "warning", "unsettled"),
    (unpaid, "amoCRM", "failed", "payment_required"),
    (unconfigured, "Настройка", "failed", "not_configured"),
]


@pytest.mark.parametrize(("trouble", "name", "state", "code"), TROUBLES)
def test_troubles(
    clinic: SandboxInstallation,
    shown: dict[str, str],
    trouble: Callable[[SandboxInstallation], None],
    name: str,
    state: str,
    code: str,
) -> None:
    trouble(clinic)
    try:
        assert look(clinic)[name] == state
    finally:
        clinic.crm.admin("settings", {"paid": True})
    assert hint(code) in shown[f"health-{CLINIC}"]
    [row] = clinic.ledger.audit(event_prefix=f"{PREFIX}health.")
    assert code in row.payload.values()


def test_the_subscription_is_a_check(
    clinic: SandboxInstallation, shown: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    later = datetime.fromtimestamp(time.time() + 15 * 86_400, tz=UTC)
    monkeypatch.setattr(subscribe, "_now", lambda: later)
    assert look(clinic)[vitals.SUBSCRIPTION] == "failed"
    page = shown[f"health-{CLINIC}"]
    assert "Срок действия истёк 🔴" in page
    assert "problems.md#subscription_expired" in page


@pytest.mark.parametrize(("free", "code"), [(10**12, ""), (10**9, "disk_low"), (10**8, "disk_full")])
def test_disk(clinic: SandboxInstallation, monkeypatch: pytest.MonkeyPatch, free: int, code: str) -> None:
    usage = shutil.disk_usage(clinic.home)
    monkeypatch.setattr("tasks.vitals.shutil.disk_usage", lambda _path: usage._replace(free=free))
    assert vitals.check_machine(clinic.settings).code == code


def test_clocks_that_differ(clinic: SandboxInstallation, monkeypatch: pytest.MonkeyPatch) -> None:
    # The sandbox's database tells our own time in its zone; another zone is another clock.
    clinic.secrets[CLINIC] = clinic.connection()
    connection, reader = open_source(clinic.ledger.connection(CLINIC), clinic.settings)
    elsewhere = connection.model_copy(update={"timezone": "Asia/Vladivostok"})
    monkeypatch.setattr(vitals, "open_source", lambda *_arguments: (elsewhere, reader))
    found = vitals.check_database(clinic.settings, clinic.ledger.connection(CLINIC))
    assert [one.code for one in found if one.name == vitals.CLOCK] == ["clock"]


def test_no_clinic_yet(clinic: SandboxInstallation, shown: dict[str, str]) -> None:
    clinic.ledger.remove_connection(CLINIC)
    assert health.health.fn() == {}
    assert HINTS["no_clinics"] in shown["health-all"]


def test_what_prefect_missed_is_emitted_later(
    clinic: SandboxInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    emitted: list[dict[str, Any]] = []
    emit("transfer.stopped", clinic.uid, CLINIC, "info", {}, clinic.ledger)  # nobody listens

    def receive(**parts: Any) -> str:
        emitted.append(parts)
        return "sent"

    monkeypatch.setattr("tasks.events.emit_event", receive)
    assert emit_missed(clinic.ledger) == len(emitted) > 0
    last = emitted[-1]
    assert last["event"] == "ident-amocrm.transfer.stopped"
    assert last["resource"]["prefect.resource.name"] == CLINIC
    assert abs(last["occurred"].timestamp() - time.time()) < 60
    assert emit_missed(clinic.ledger) == 0


def test_every_code_has_its_instruction() -> None:
    page = (ROOT / "docs/ru/problems.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^## (\S+)$", page, re.MULTILINE)) == set(HINTS)


def test_the_blocks_have_the_manuals_defaults() -> None:
    block = IdentDatabase()
    assert (block.host, block.port, block.database, block.user) == ("127.0.0.1", 15000, "PZ", "readonly_user")
    assert {"instance", "driver", "encryption", "trust_certificate", "timezone"} <= set(
        IdentDatabase.model_fields
    )
    for kind in (IdentDatabase, AmoCrmAccount):
        for name, field in kind.model_fields.items():
            secret = any(word in name for word in ("password", "token", "secret", "code"))
            assert not secret or field.annotation is SecretStr, name
