"""What Prefect reads from the environment, set before it is imported; what the user set wins."""

from __future__ import annotations

import base64
import http.client
import json
import os
import secrets
import ssl
import urllib.request
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from deployments.doors import AUTH_STRING, read_password
from tasks.settings import Settings

__all__ = [
    "answers",
    "name_defaults",
    "prefect_api",
    "prepare_environment",
    "running_api",
    "running_up",
    "stop_file",
    "up_file",
    "up_lock",
]

DAYS_30 = "P30D"
LOOPBACK = ("127.0.0.1", "localhost")

#: pyproject's [tool.prefect] is read only from the folder a process was started in: an installed package
#: has none, so the same settings stand here.
DEFAULTS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # The second UI asks a telemetry host for its configuration on every load, also with analytics off.
    "PREFECT_SERVER_UI_V2_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_API_HOST": "127.0.0.1",
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "true",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": DAYS_30,
    "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": DAYS_30,
    "PREFECT_RUNNER_CRASH_ON_CANCELLATION_FAILURE": "true",
    "PREFECT_RUNNER_POLL_FREQUENCY": "3",
    "PREFECT_WORKER_QUERY_SECONDS": "3",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
}


def prepare_environment(settings: Settings, environ: MutableMapping[str, str] | None = None) -> None:
    """Set what Prefect reads from the environment, where the user has not.

    Args:
        settings: The settings of the installation.
        environ: Where to set it; this process's environment by default.
    """
    target = os.environ if environ is None else environ
    home = settings.prepare_home()
    name_defaults(settings, target)
    if "PREFECT_SERVER_ENCRYPTION_KEY" not in target:
        target["PREFECT_SERVER_ENCRYPTION_KEY"] = _block_key(home / "blocks.key")
    if AUTH_STRING not in target and target.get("PREFECT_API_URL", "") in {
        "",
        _last_place(settings).get("api"),
    }:
        # For our own server only: another one must not hear our password.
        password = read_password(home)
        if password is not None:
            target[AUTH_STRING] = password
    if AUTH_STRING in target:
        target.setdefault("PREFECT_API_AUTH_STRING", target[AUTH_STRING])
    _spare_loopback(target)


def name_defaults(settings: Settings, environ: MutableMapping[str, str]) -> None:
    """Set what Prefect reads and what needs no file; nothing is written to the disk."""
    environ.setdefault("PREFECT_HOME", str(settings.home / "prefect"))
    # Else Prefect copies its pages into its package, where a service's account may not write: no UI at all.
    environ.setdefault("PREFECT_UI_STATIC_DIRECTORY", str(settings.home / "prefect" / "ui"))
    for name, value in DEFAULTS.items():
        environ.setdefault(name, value)


def prefect_api(settings: Settings) -> str | None:
    """Choose the Prefect server of this process: the user's, the one ``up`` runs, or a temporary one.

    Returns:
        What to tell the user; ``None`` when there is nothing to tell.
    """
    if os.environ.get("PREFECT_API_URL"):
        return None
    api = running_api(settings)
    if api is not None:
        os.environ["PREFECT_API_URL"] = api
        return None
    os.environ["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] = "true"
    return "No Prefect server is running; a temporary one serves this command."


def running_api(settings: Settings) -> str | None:
    """Return the address of this installation's server; ``None`` where ``up`` does not run."""
    api = running_up(settings).get("api")
    return str(api) if api and answers(str(api)) else None


def up_file(settings: Settings) -> Path:
    """Return the file in which a running ``up`` leaves its address."""
    return settings.home / "up.json"


def stop_file(settings: Settings) -> Path:
    """Return the file whose appearance ends a running ``up`` in order, also where there are no signals."""
    return settings.home / "up.stop"


def up_lock(settings: Settings) -> FileLock:
    """Return the lock that a running ``up`` holds."""
    return FileLock(settings.home / "up.lock", mode=0o600)


def answers(api: str, seconds: float = 2.0) -> bool:
    """Tell whether a Prefect server answers at this address; never through a proxy."""
    place = urlsplit(api)
    if place.hostname is None:
        return False
    link = (
        http.client.HTTPSConnection(place.hostname, place.port, timeout=seconds, context=_trust())
        if place.scheme == "https"
        else http.client.HTTPConnection(place.hostname, place.port, timeout=seconds)
    )
    try:
        link.request("GET", f"{place.path}/health")
        return link.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        link.close()


def _trust() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=os.environ.get("PREFECT_API_SSL_CERT_FILE"))


def running_up(settings: Settings) -> dict[str, Any]:
    """Return what a running ``up`` says of itself; empty when none runs.

    A file left by a killed ``up`` may name a port on which another installation's server answers by now;
    the lock tells: it dies with its process.
    """
    place = _last_place(settings)
    if not place:
        return {}
    try:
        with up_lock(settings).acquire(timeout=0):
            return {}
    except Timeout:
        return place


def _last_place(settings: Settings) -> dict[str, Any]:
    """Return what ``up`` said of itself last, whether it still runs or not."""
    try:
        place: dict[str, Any] = json.loads(up_file(settings).read_text(encoding="utf-8"))
        str(place["api"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return place


def _block_key(path: Path) -> str:
    """Return the key of the blocks' secrets, made on first use.

    Without it Prefect writes a key into the same database as the secrets it protects.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(encoding="ascii").strip()
    key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode("ascii")
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    return key


def _spare_loopback(environ: MutableMapping[str, str]) -> None:
    """Let nothing on this machine go through a proxy."""
    if environ is os.environ:
        # A proxy of the system (Windows, macOS) is used only while no *_PROXY variable exists, NO_PROXY
        # included: name it, or setting NO_PROXY would switch it off.
        for scheme, address in urllib.request.getproxies().items():
            if scheme in {"http", "https"} and f"{scheme}_proxy" not in environ:
                environ.setdefault(f"{scheme}_proxy".upper(), address)
    given = ",".join(environ.get(name, "") for name in ("no_proxy", "NO_PROXY"))
    hosts = [host.strip() for host in given.split(",") if host.strip()]
    # Libraries differ in which spelling they prefer.
    environ["no_proxy"] = environ["NO_PROXY"] = ",".join(dict.fromkeys([*hosts, *LOOPBACK]))
