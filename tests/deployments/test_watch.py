"""Prefect watched from outside: told once after five minutes, once when it is back, whatever else is broken."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from deployments.watch import DOWN_SECONDS, Watch, post_alert
from tasks.errors import LedgerUnavailableError
from tasks.ledger.store import Ledger
from tasks.settings import Settings


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger(Settings(home=tmp_path).ledger_url).open()) as found:
        yield found


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def events(ledger: Ledger) -> list[tuple[str, object, bool]]:
    return [(row.event, row.payload["part"], row.emitted) for row in ledger.audit(order="asc")]


def test_an_outage_is_told_once_and_its_end_too(ledger: Ledger) -> None:
    told: list[str] = []
    clock = Clock()
    watch = Watch(ledger, told.append, clock)
    watch.look("server", well=True)
    for _ in range(20):
        watch.look("server", well=False)
        clock.now += DOWN_SECONDS / 10
    assert len(told) == 1
    assert "сервер Prefect не работает уже 5 минут" in told[0]
    watch.look("server", well=True)
    watch.look("server", well=True)
    assert len(told) == 2
    assert events(ledger) == [
        ("ident-amocrm.prefect.down", "server", False),
        ("ident-amocrm.prefect.recovered", "server", False),
    ]


def test_a_restart_is_no_outage(ledger: Ledger) -> None:
    told: list[str] = []
    clock = Clock()
    watch = Watch(ledger, told.append, clock)
    for _ in range(10):
        watch.look("worker", well=False)
        clock.now += DOWN_SECONDS - 1
        watch.look("worker", well=True)
    assert told == []
    assert events(ledger) == []


def test_a_sleep_is_no_outage(ledger: Ledger) -> None:
    told: list[str] = []
    clock = Clock()
    watch = Watch(ledger, told.append, clock)
    watch.look("server", well=True)
    clock.now += 3600
    watch.look("server", well=True)
    assert told == []


def test_a_person_is_told_also_when_nothing_can_be_written(
    monkeypatch: pytest.MonkeyPatch, ledger: Ledger
) -> None:
    def full(*_arguments: object) -> int:
        raise LedgerUnavailableError(problem="", remedy="")

    monkeypatch.setattr(ledger, "append_audit", full)
    told: list[str] = []
    clock = Clock()
    watch = Watch(ledger, told.append, clock)
    watch.look("server", well=False)
    clock.now += DOWN_SECONDS
    watch.look("server", well=False)
    assert len(told) == 1


class Receiver(BaseHTTPRequestHandler):
    bodies: ClassVar[list[bytes]] = []
    arrived: ClassVar[threading.Event] = threading.Event()

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()
        self.arrived.set()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        """Say nothing."""


def test_the_webhook_needs_no_prefect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        file = tmp_path / "alert"
        file.write_text(f"http://127.0.0.1:{server.server_address[1]}/bot-token/send\n", encoding="utf-8")
        post_alert(Settings(home=tmp_path, alert_file=file), "не работает")
        assert Receiver.arrived.wait(30)
        server.shutdown()
    assert json.loads(Receiver.bodies[0]) == {"text": "не работает"}


@pytest.mark.parametrize("content", [None, "file:///etc/passwd", "", "http://127.0.0.1:1/x"])
def test_a_broken_webhook_breaks_nothing(
    tmp_path: Path, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    from deployments.watch import _post

    file = tmp_path / "alert"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    _post(Settings(home=tmp_path, alert_file=file), "не работает")
    assert "alert" in capsys.readouterr().err
