"""What goes into a bundle for the support: the report, settings, runs, events, versions, logs; never a value.

Runs and events hold counts and codes by their making; here they are let through by form once more, because
what leaves the machine cannot be called back. Names that operators chose (of clinics, hosts, folders) are
replaced everywhere, since a clinic may be called after its owner.
"""

from __future__ import annotations

import json
import platform
import re
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tasks.breaker import BREAKER
from tasks.connections import AMOCRM, INSTALLATION
from tasks.doctor.bundle import Mask, counts_only, name_of_host
from tasks.doctor.environment import described_variables, shown_value
from tasks.doctor.findings import Report
from tasks.doctor.logs import filtered, log_files, tail
from tasks.doctor.versions import installed_packages
from tasks.drift import DRIFTED
from tasks.hints import HINTS
from tasks.launch import LAUNCH, TRANSFER
from tasks.ledger.backup import BASELINE
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.settings import Settings

__all__ = ["bundle_members", "mask_for"]

RUNS: Final = 200
EVENTS: Final = 500
#: Shorter names would take innocent words with them.
SHORTEST: Final = 2
CODE: Final = re.compile(r"[a-z0-9_.-]{0,64}")
#: Codes of amoCRM are spelled with capitals.
REASON: Final = re.compile(r"[A-Za-z0-9_.-]{0,64}", re.ASCII)
README: Final = """\
What is in this bundle of ident-amocrm doctor
=============================================

report.txt, report.json   what the doctor found, and the remedies
settings.json             settings and environment: names; values only of numbers, switches, paths and
                          addresses without what stands before and behind the host
installation.json         what the ledger knows of its set-up: started or not, window, account id
runs.json                 the last runs of each clinic: times, ends, counts, codes
events.json               the last events: names, times, levels, names of their data, codes
rejects.json              how many rows each rule keeps back
versions.json             Python, system, packages
logs/                     ends of the logs: time, level, part of the program, place of an error; lines of any
                          other form are left out

Clinics stand here by their uid, hosts and folders by placeholders. Names, phones, e-mails, passwords and
tokens are not in it. It is plain text: look through it before you send it.
"""


def mask_for(settings: Settings | None, ledger: Ledger | None) -> Mask:
    """Return what takes names out: of clinics, hosts, folders, this machine."""
    names = {str(Path.home()): "~", socket.gethostname(): "[machine]"}
    if settings is not None:
        names |= {str(settings.home): "[home]", str(settings.home.resolve()): "[home]"}
    if ledger is not None:
        for record in [*ledger.former_connections(), *ledger.connections()]:
            names |= _names_of(record)
        account = ledger.setting(INSTALLATION, AMOCRM) or {}
        if host := urlsplit(str(account.get("base_url", ""))).hostname:
            names |= {host: "[account]"} if name_of_host(host) else {}
    return Mask({name: put for name, put in names.items() if len(name) >= SHORTEST})


def _names_of(record: ConnectionRecord) -> dict[str, str]:
    uid, place = record.clinic_uid, str(record.fingerprint.get("place", ""))
    address, _, database = place.partition("/")
    host, server = address.rpartition(":")[0], str(record.fingerprint.get("server", ""))
    names = {record.name: uid, record.block_name: uid}
    names |= {one: "[database server]" for one in (host, server) if name_of_host(one)}
    return names | ({database: "[database file]"} if "/" in database or "\\" in database else {})


def bundle_members(
    report: Report, environ: Mapping[str, str], settings: Settings | None, ledger: Ledger | None
) -> dict[str, str]:
    """Return the texts of the bundle by their names; a part that cannot be read says so.

    Args:
        report: What the doctor found.
        environ: The environment, as the user set it.
        settings: The settings, where they are valid.
        ledger: The ledger, where it opens.
    """
    try:
        mask = mask_for(settings, ledger)
    except Exception:  # noqa: BLE001 - a damaged ledger: its names are in no text then, but for the report's
        mask, ledger = mask_for(settings, None), None
    masked = mask.report(report)
    members = {"README.txt": README, "report.txt": masked.text()}
    parts: dict[str, Callable[[], Any]] = {
        "report.json": masked.as_dict,
        "settings.json": lambda: _settings(environ, settings, mask),
        "versions.json": _versions,
    }
    if ledger is not None:
        known = ledger
        parts |= {
            "installation.json": lambda: _installation(known),
            "runs.json": lambda: {one.clinic_uid: _runs(known, one) for one in known.connections()},
            "events.json": lambda: _events(known),
            "rejects.json": lambda: {one.clinic_uid: _rejects(known, one) for one in known.connections()},
        }
    for name, part in parts.items():
        members[name] = _written(part)
    if settings is not None:
        members |= _logs(settings.home / "logs")
    return members


def _written(part: Callable[[], Any]) -> str:
    try:
        data = part()
    except Exception as error:  # noqa: BLE001 - one part that breaks does not keep the others from the support
        data = {"not_readable": type(error).__name__}
    return json.dumps(data, ensure_ascii=False, indent=1) + "\n"


def _moment(epoch: float | None) -> str | None:
    return None if epoch is None else datetime.fromtimestamp(epoch, tz=UTC).isoformat(timespec="seconds")


def _settings(environ: Mapping[str, str], settings: Settings | None, mask: Mask) -> dict[str, Any]:
    values = {} if settings is None else settings.model_dump(mode="json")
    return {
        "settings": {
            name: mask.text(shown_value(f"IDENT_AMOCRM_{name.upper()}", "" if value is None else str(value)))
            for name, value in values.items()
        },
        "environment": {name: mask.text(value) for name, value in described_variables(environ).items()},
    }


def _versions() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": installed_packages(),
    }


def _installation(ledger: Ledger) -> dict[str, Any]:
    account = ledger.setting(INSTALLATION, AMOCRM) or {}
    return {
        "account_id": account.get("account_id"),
        "breaker": (ledger.setting(INSTALLATION, BREAKER) or {}).get("code"),
        "clinics": {one.clinic_uid: _clinic(ledger, one) for one in ledger.connections()},
    }


def _clinic(ledger: Ledger, record: ConnectionRecord) -> dict[str, Any]:
    def kept(name: str) -> dict[str, Any]:
        return ledger.setting(f"clinic:{record.clinic_uid}", name) or {}

    launch = kept(LAUNCH)
    return {
        "timezone": record.timezone,
        "connected_at": _moment(record.connected_at),
        "started": bool(kept(TRANSFER).get("started")),
        "window": {name: launch.get(name) for name in ("from_day", "to_day", "deals")},
        "rebaseline_due": kept(BASELINE).get("due"),
        "drifted": kept(DRIFTED).get("codes", []),
        "watermark_is_set": bool(ledger.watermark(record.clinic_uid)),
        "open_attempts": len(ledger.open_attempts(record.clinic_uid)),
    }


def _runs(ledger: Ledger, record: ConnectionRecord) -> list[dict[str, Any]]:
    return [
        {
            "run_id": run.run_id,
            "mode": run.mode,
            "state": run.state,
            "started_at": _moment(run.started_at),
            "finished_at": _moment(run.finished_at),
            "counts": counts_only(run.counts),
        }
        for run in ledger.runs(record.clinic_uid, RUNS)
    ]


def _events(ledger: Ledger) -> list[dict[str, Any]]:
    return [
        {
            "at": _moment(row.occurred_at),
            "event": row.event,
            "resource": row.resource,
            "level": row.level,
            "data": sorted(name for name in row.payload if CODE.fullmatch(str(name))),
            "codes": sorted({value for value in row.payload.values() if value in HINTS}),
        }
        for row in ledger.audit(limit=EVENTS)
    ]


def _rejects(ledger: Ledger, record: ConnectionRecord) -> dict[str, int]:
    found = (one for _uid, one in ledger.rejects(record.clinic_uid))
    counted = Counter(f"{one.entity} {one.reason}" for one in found if REASON.fullmatch(one.reason))
    return dict(counted.most_common())


def _logs(folder: Path) -> dict[str, str]:
    members = {}
    for path in log_files(folder):
        if not CODE.fullmatch(path.name):
            continue
        try:
            lines = list(filtered(tail(path), HINTS.keys()))
        except OSError as error:
            lines = [f"[not readable: {type(error).__name__}]"]
        members[f"logs/{path.name}"] = "\n".join(lines) + "\n"
    return members
