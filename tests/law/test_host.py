"""An account outside Russia is warned of, wherever an operator looks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from tasks import connections, health
from tasks.amocrm.host import ABROAD, is_abroad, is_here
from tasks.checks import CheckState
from tasks.examine import examine_account
from tasks.settings import Settings


@pytest.mark.parametrize(
    ("address", "abroad"),
    [
        ("https://clinic.amocrm.ru", False),
        ("https://CLINIC.AMOCRM.RU.:443/", False),
        ("http://127.0.0.1:8080", False),
        ("http://[::1]:8080", False),
        ("http://localhost:8080", False),
        ("https://clinic.kommo.com", True),
        ("https://clinic.amocrm.com", True),
        ("https://amocrm.ru.example.org", True),
        ("https://notamocrm.ru", True),
        ("https://192.0.2.1", True),
    ],
)
def test_only_the_russian_service_and_this_machine_are_not_abroad(address: str, abroad: bool) -> None:
    assert is_abroad(address) is abroad
    assert is_here(address) is any(name in address for name in ("127.0.0.1", "::1", "localhost"))


class Silent:
    """An amoCRM that answers and has nothing to say."""

    def __init__(self, *_arguments: Any, **_options: Any) -> None:
        self.warnings: list[str] = []

    def close(self) -> None:
        pass


@pytest.mark.parametrize("address", ["https://clinic.kommo.com", "https://clinic.amocrm.ru"])
def test_connecting_the_health_check_and_the_doctor_warn(
    address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    known = {"account_id": 7, "base_url": address}
    ledger: Any = SimpleNamespace(setting=lambda _scope, name: known if name == "amocrm" else None)
    settings = Settings(home=tmp_path)
    monkeypatch.setattr(connections, "AmoClient", Silent)
    monkeypatch.setattr(connections, "read_account", lambda _client: SimpleNamespace(id=7))
    _account, warnings = connections._tested(address, SecretStr("t"), ledger, settings, pacer=None)  # type: ignore[arg-type]
    monkeypatch.setattr(health, "open_destination", lambda _ledger, _settings: Silent())
    monkeypatch.setattr(health, "read_account", lambda _client: SimpleNamespace(id=7))
    monkeypatch.setattr(health, "token_warning", lambda _account, _now: "")
    monkeypatch.setattr("tasks.blocks.load_account", lambda: None)
    monkeypatch.setattr(health, "load_mapping", lambda _ledger, _account_id: None)
    monkeypatch.setattr(health, "live_drifts", lambda _client, _mapping: [])
    checks = {one.code: one.state for one in health.check_account(ledger, settings)}
    told = [one for one in examine_account(ledger, settings) if one.code == "crm_abroad"]
    if is_abroad(address):
        assert warnings == [ABROAD]
        assert checks["crm_abroad"] is CheckState.WARNING
        assert "leave Russia" in told[0].found
    else:
        assert (warnings, told) == ([], [])
        assert "crm_abroad" not in checks
