"""``mapping`` on the command line: export, import, history, check, backfill."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from deployments.cli import configure, mapping
from deployments.cli.main import app
from deployments.sandbox.amocrm.server import StandIn
from tasks.errors import IdentAmocrmError
from tests.support.sandbox_installation import TOKEN, SandboxInstallation, sandbox_installation


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxInstallation]:
    folder = tmp_path_factory.mktemp("cli")
    with (
        StandIn(token=TOKEN, limit=None, index_lag=0) as crm,
        pytest.MonkeyPatch.context() as patch,
        sandbox_installation(folder, crm, patch, patients=2, appointments=2) as found,
    ):
        found.connect()
        for module in (configure, mapping):
            patch.setattr(module, "open_session", lambda **_options: found.ledger)
        yield found


def run(*arguments: str) -> Any:
    done = CliRunner().invoke(app, arguments)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout) if "json" in arguments else done.stdout


def test_a_file_is_exported_edited_and_imported(place: SandboxInstallation, tmp_path: Path) -> None:
    file = tmp_path / "mapping.yaml"
    run("mapping", "export", str(file))
    assert "# " in file.read_text(encoding="utf-8")
    assert run("mapping", "import", str(file), "--output", "json") == {"changes": []}
    data = yaml.safe_load(file.read_text(encoding="utf-8"))
    data["deal_name"] = "Визит {date}"
    file.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
    changes = run("mapping", "import", str(file), "--output", "json")["changes"]
    assert changes == ["Название сделки: Приём {start} · {doctor} → Визит {date}"]
    history = run("mapping", "show", "--history", "--output", "json")
    assert [(one["by"], one["changes"]) for one in history] == [
        ("autoconfigure", ["Настройка создана."]),
        ("mapping command", changes),
    ]
    assert run("mapping", "check", "--output", "json") == {"problems": []}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"account_id": 1}, "another_account"),
        ({"surprise": 1}, "mapping_document"),
        ({"contact_external_field": 1}, "mapping_drift"),
        ({"deal_name": "{phone}"}, "mapping_unsound"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    place: SandboxInstallation, tmp_path: Path, change: dict[str, Any], code: str
) -> None:
    before = run("mapping", "show", "--output", "json")
    file = tmp_path / "mapping.yaml"
    file.write_text(yaml.safe_dump(before | change, allow_unicode=True), encoding="utf-8")
    with pytest.raises(IdentAmocrmError) as refusal:
        run("mapping", "import", str(file))
    assert refusal.value.code == code
    assert run("mapping", "show", "--output", "json") == before


def test_backfill_counts_first(place: SandboxInstallation) -> None:
    place.sync()
    counted = run("mapping", "backfill", "--data", "contact.last_name", "--output", "json")
    assert (counted["marked"], counted["data"]) == (False, {"contact": ["last_name"]})
    assert counted["rows"]["contact"] > 0
    assert place.sync().planned["contacts"]["update"] == 0
    marked = run("mapping", "backfill", "--data", "contact.last_name", "--yes", "--output", "json")
    assert (marked["marked"], marked["rows"]) == (True, counted["rows"])
    assert place.sync().planned["contacts"]["update"] == counted["rows"]["contact"]
    with pytest.raises(IdentAmocrmError) as refusal:
        run("mapping", "backfill", "--data", "deal.shoe_size")
    assert refusal.value.code == "unknown_datum"


def test_only_the_named_blocks_are_configured(place: SandboxInstallation) -> None:
    found = run("autoconfigure", "--yes", "--only", "deal", "--output", "json")
    assert {element["block"] for element in found["elements"]} == {"lead"}
    assert {element["action"] for element in found["elements"]} == {"reuse"}
    with pytest.raises(IdentAmocrmError) as refusal:
        run("autoconfigure", "--yes", "--only", "everything")
    assert refusal.value.code == "unknown_block"
