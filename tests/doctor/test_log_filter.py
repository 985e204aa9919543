"""What of a log may leave the machine: forms that are known, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tasks.doctor.findings import State
from tasks.doctor.logs import BYTES, check_logs, filtered, tail

PHONE, NAME, TOKEN, PASSWORD = "9161234567", "Берёзкина", "eyJhbGciOiJSUzI1NiJ9.e30.c2ln", "hunter2"
LATIN = "Berezkina"
SECRETS = (PHONE, "916 123", NAME, "БЕРЁЗКИНА", LATIN, LATIN.lower(), TOKEN, PASSWORD)
UUID = "01a21522-1fdc-7b57-89c1-8d583c8fdc8f"


def test_what_is_known_is_kept() -> None:
    kept = list(
        filtered(
            [
                "Worker 'ProcessWorker e969a520' started!",
                "12:00:00.001 | INFO    | Flow run 'Север: incremental' - Finished in state Failed('Иванов')",
                "12:00:00.002 | INFO    | Task run 'extract-a35' - Extracted 14 patients and 9 appointments (full)",
                f"12:00:00.003 | INFO    | tasks.amocrm.requester - GET contacts: 200, X-Request-Id {UUID}, 12 ms",
                "12:00:00.004 | ERROR   | prefect.server.events - sqlite: database is locked",
                "Traceback (most recent call last):",
                '  File "/home/berezkina/v/lib/python3.11/site-packages/aiosqlite/core.py", line 63, in _run',
                "    result = function('Берёзкина')",
                "sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) database is locked",
                "[SQL: INSERT INTO worker VALUES ('Берёзкина')]",
                "[parameters: {'name': 'Берёзкина'}]",
                "",
                "2026-11-26 00:12:26,602 ERROR Not applied: sync/Север",
                "12:00:00.005 | ERROR   | Flow run 'x' - refused (rebaseline_due) for Берёзкина",
                "ValueError: 'Берёзкина' is not in list",
            ],
            {"rebaseline_due", "authentication"},
        )
    )
    assert kept == [
        "Worker … started",
        "12:00:00.001 | INFO     | Flow run - Finished in state Failed",
        "12:00:00.002 | INFO     | Task run extract - Extracted 14 patients and 9 appointments (full)",
        f"12:00:00.003 | INFO     | tasks.amocrm.requester - GET …: 200, X-Request-Id {UUID}, 12 ms",
        "12:00:00.004 | ERROR    | prefect.server.events - [message left out] [database is locked]",
        "Traceback (most recent call last):",
        '  File "…/lib/python3.11/site-packages/aiosqlite/core.py", line 63, in _run',
        "[1 lines left out]",
        "sqlalchemy.exc.OperationalError [database is locked]",
        "[2 lines left out]",
        "2026-11-26 00:12:26,602 ERROR Not applied",
        "12:00:00.005 | ERROR    | Flow run - [message left out] (rebaseline_due)",
        "ValueError",
    ]


@pytest.mark.parametrize("value", SECRETS)
@pytest.mark.parametrize(
    "form",
    [
        "{}",
        "12:00:00.001 | INFO    | {} - message",
        "12:00:00.001 | INFO    | prefect.{} - message",
        "12:00:00.001 | INFO    | Flow run '{}' - Finished in state Completed('{}')",
        "12:00:00.001 | INFO    | Task run '{}-1fd' - Rule {}: 3 rows",
        "12:00:00.001 | INFO    | tasks.load - Sync of {}: 3 rows planned, 3 writes",
        "12:00:00.001 | INFO    | tasks.load - Planned {}",
        "12:00:00.001 | INFO    | tasks.load - GET contacts?query={}: 200, X-Request-Id {}, 12 ms",
        "12:00:00.001 | {}    | tasks.load - Planned nothing",
        "12:00:00.001 | ERROR   | tasks.load - password={} database is locked",
        "2026-11-26 00:12:26,602 INFO Dead runs ended: {}",
        "2026-11-26 00:12:26,602 INFO {}",
        "Worker '{}' started!",
        "Received SIGTERM. {}",
        "ValueError: {}",
        "{}Error: text",
        "tasks.{}: text",
        "[parameters: {}]",
        "    value = '{}'",
        '  File "/home/{}/tasks/load.py", line 3, in <module>',
        'INFO:     127.0.0.1:1 - "GET /api?query={} HTTP/1.1" 200',
        "During handling of the above exception, another exception occurred: {}",
    ],
)
def test_a_value_stays_here_wherever_it_stands(form: str, value: str) -> None:
    # A logger is named by code; only a name that no code has is a value.
    if form.startswith("12:00:00.001 | INFO    | prefect.") and re.fullmatch("[a-z]+", value):
        pytest.skip("this is what the name of a logger looks like")
    said = "\n".join(filtered([form.replace("{}", value)], {"rebaseline_due"}))
    assert value not in said
    assert PHONE not in said


def test_errors_are_counted_and_the_last_exception_is_named(tmp_path: Path) -> None:
    assert check_logs(tmp_path)[0].found == "none: up never ran here"
    (tmp_path / "server.log").write_text(
        "12:00:00.001 | ERROR   | prefect.x - one\nsqlite3.OperationalError: locked by Берёзкина\n"
        "12:00:00.002 | CRITICAL | prefect.x - two\n",
        encoding="utf-8",
    )
    (tmp_path / "worker.log").write_text("12:00:00.001 | INFO    | prefect.x - fine\n", encoding="utf-8")
    server, worker = check_logs(tmp_path)
    assert (server.state, worker.state) == (State.WARNING, State.OK)
    assert server.found == (
        "2 errors in the last 3 lines, the last one at 12:00:00.002; last exception: sqlite3.OperationalError"
    )


def test_only_the_end_of_a_long_log_is_read(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("x" * 99 + "\n" + f"{'y' * 99}\n" * (BYTES // 100 + 50), encoding="utf-8")
    lines = tail(log, 20_000)
    assert {*lines} == {"y" * 99}, "no line is cut in the middle"
    assert len(tail(log, 7)) == 7
