from __future__ import annotations

import json
import os
import stat
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from deployments.doors import make_password, password_file
from deployments.environment import answers, prefect_api, prepare_environment, up_file, up_lock
from tasks.errors import ConfigurationError
from tasks.settings import Settings

AUTH = "PREFECT_SERVER_API_AUTH_STRING"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture(autouse=True)
def environ(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = dict(os.environ)
    for name in list(os.environ):
        if name.startswith("PREFECT_") or name.lower().endswith("_proxy"):
            del os.environ[name]
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def server() -> Iterator[str]:
    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/api/health" else 404)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Health) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/api"
        running.shutdown()
        thread.join()


def test_state_and_key_are_in_the_home(settings: Settings) -> None:
    prepare_environment(settings)
    assert os.environ["PREFECT_HOME"] == str(settings.home / "prefect")
    assert os.environ["PREFECT_UI_STATIC_DIRECTORY"] == str(settings.home / "prefect" / "ui")
    key = settings.home / "blocks.key"
    assert os.environ["PREFECT_SERVER_ENCRYPTION_KEY"] == key.read_text()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_the_key_stays_the_same_and_fits_prefect(settings: Settings) -> None:
    from cryptography.fernet import Fernet

    first: dict[str, str] = {}
    second: dict[str, str] = {}
    prepare_environment(settings, first)
    prepare_environment(settings, second)
    secret = Fernet(first["PREFECT_SERVER_ENCRYPTION_KEY"]).encrypt(b"secret")
    assert Fernet(second["PREFECT_SERVER_ENCRYPTION_KEY"]).decrypt(secret) == b"secret"


def test_prefect_understands_every_default(settings: Settings) -> None:
    prepare_environment(settings)
    from prefect.settings import Settings as PrefectSettings

    known = PrefectSettings()
    assert known.server.analytics_enabled is False
    assert known.server.ui.v2_enabled is False
    assert known.server.ui.static_directory == str(settings.home / "prefect" / "ui")
    assert known.server.events.retention_period.days == 30
    assert known.server.services.db_vacuum.retention_period.days == 30
    assert known.server.services.db_vacuum.enabled == {"events", "flow_runs"}
    assert known.flows.heartbeat_frequency == 30
    assert known.worker.query_seconds == 3
    assert known.runner.poll_frequency == 3
    assert known.runner.crash_on_cancellation_failure is True
    assert known.home == settings.home / "prefect"


def test_the_users_own_settings_win(settings: Settings) -> None:
    os.environ["PREFECT_HOME"] = "elsewhere"
    os.environ["PREFECT_SERVER_ENCRYPTION_KEY"] = "own"
    prepare_environment(settings)
    assert os.environ["PREFECT_HOME"] == "elsewhere"
    assert os.environ["PREFECT_SERVER_ENCRYPTION_KEY"] == "own"
    assert not (settings.home / "blocks.key").exists()


def test_loopback_never_goes_through_a_proxy(settings: Settings) -> None:
    os.environ["HTTPS_PROXY"] = "http://proxy.invalid:3128"
    os.environ["NO_PROXY"] = "clinic.local"
    prepare_environment(settings)
    prepare_environment(settings)
    assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == "clinic.local,127.0.0.1,localhost"
    assert urllib.request.proxy_bypass("127.0.0.1:4200")
    assert not urllib.request.proxy_bypass("example.amocrm.ru")


def test_a_proxy_of_the_system_is_kept(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urllib.request, "getproxies", lambda: {"https": "http://system.invalid:8080"})
    prepare_environment(settings)
    assert os.environ["HTTPS_PROXY"] == "http://system.invalid:8080"


def test_the_users_server_is_used(settings: Settings) -> None:
    os.environ["PREFECT_API_URL"] = "http://own.invalid/api"
    assert prefect_api(settings) is None
    assert os.environ["PREFECT_API_URL"] == "http://own.invalid/api"


def test_without_a_server_a_temporary_one_is_announced(settings: Settings) -> None:
    notice = prefect_api(settings)
    assert notice == "No Prefect server is running; a temporary one serves this command."
    assert "PREFECT_API_URL" not in os.environ
    from prefect.settings import Settings as PrefectSettings

    assert PrefectSettings().server.ephemeral.enabled is True


def write_up(settings: Settings, api: str) -> None:
    settings.prepare_home()
    up_file(settings).write_text(json.dumps({"url": "x", "api": api, "pid": 1}))


def test_the_server_of_up_is_used(
    settings: Settings, server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_up(settings, server)
    with up_lock(settings).acquire():
        assert prefect_api(settings) is None
    assert os.environ["PREFECT_API_URL"] == server
    assert capsys.readouterr() == ("", "")


def test_another_servers_port_is_not_taken_for_ours(settings: Settings, server: str) -> None:
    write_up(settings, server)
    assert prefect_api(settings) is not None
    assert "PREFECT_API_URL" not in os.environ


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"api": 5}', '{"api": "http://127.0.0.1:1/api"}'])
def test_a_useless_file_is_no_server(settings: Settings, content: str) -> None:
    settings.prepare_home()
    up_file(settings).write_text(content)
    with up_lock(settings).acquire():
        assert prefect_api(settings) is not None


def test_answers(server: str) -> None:
    assert answers(server)
    assert not answers(server + "/nowhere")
    assert not answers("nonsense")


def test_the_password_of_the_installation_is_used(settings: Settings) -> None:
    path = make_password(settings.prepare_home())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text()
    assert make_password(settings.home).read_text() == text, "the one that is there is kept"
    prepare_environment(settings)
    assert os.environ[AUTH] == os.environ["PREFECT_API_AUTH_STRING"] == text.strip()
    user, _, password = text.strip().partition(":")
    assert user == "operator"
    assert len(password) >= 32


def test_without_a_file_there_is_no_password(settings: Settings) -> None:
    prepare_environment(settings)
    assert AUTH not in os.environ
    assert "PREFECT_API_AUTH_STRING" not in os.environ


def test_the_users_own_password_wins(settings: Settings) -> None:
    make_password(settings.prepare_home())
    os.environ[AUTH] = "own:password"
    prepare_environment(settings)
    assert os.environ["PREFECT_API_AUTH_STRING"] == "own:password"


def test_another_server_does_not_hear_the_password(settings: Settings) -> None:
    make_password(settings.prepare_home())
    os.environ["PREFECT_API_URL"] = "http://own.invalid/api"
    prepare_environment(settings)
    assert "PREFECT_API_AUTH_STRING" not in os.environ
    write_up(settings, "http://own.invalid/api")
    prepare_environment(settings)
    assert "PREFECT_API_AUTH_STRING" in os.environ, "it is the one of up after all"


@pytest.mark.parametrize("content", [b"", b"operator:", b":password", b"alone", b"a:b\nc:d", b"\xff\xff"])
def test_a_broken_password_does_not_open_the_door(settings: Settings, content: bytes) -> None:
    password_file(settings.prepare_home()).write_bytes(content)
    with pytest.raises(ConfigurationError) as refusal:
        prepare_environment(settings)
    assert refusal.value.code == "password_file"
