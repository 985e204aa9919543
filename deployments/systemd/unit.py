"""The unit of systemd that runs ``up``: written and read here, without touching the machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tasks.errors import ConfigurationError

__all__ = ["STOP_SECONDS", "Unit", "home_of", "render"]

#: Longer than ``up`` takes when its worker, its server and all beside them are slow to end.
STOP_SECONDS = 90
#: Sections that begin like this are left to others by systemd.
OWN_SECTION = "[X-Ident-Amocrm]"

#: What a system service must not: it only reads a database, speaks HTTPS and writes into its own folder.
#: getaddrinfo asks for the machine's addresses by AF_NETLINK.
HARDENING = """\
PrivateTmp=yes
PrivateDevices=yes
ProtectSystem=strict
ReadWritePaths={home}
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
CapabilityBoundingSet=
AmbientCapabilities=
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
"""

TEMPLATE = """\
# Written by: ident-amocrm service install. For changes of your own: {edit}
[Unit]
Description=ident-amocrm: patients and appointments from IDENT to amoCRM
{after}StartLimitIntervalSec=0

[Service]
Type=exec
{user}WorkingDirectory=/
Environment={environment}
EnvironmentFile=-{settings}
ExecStart={python} -m deployments.cli.main up --port {port}
Restart=always
RestartSec=10
KillMode=mixed
TimeoutStopSec={stop}
UMask=0077
NoNewPrivileges=yes
{hardening}
[Install]
WantedBy={target}

{own}
Home={home}
"""


@dataclass(frozen=True, slots=True)
class Unit:
    """What a unit must say.

    Attributes:
        name: Without ``.service``.
        python: The interpreter.
        home: Folder of the state.
        port: Port of the UI.
        settings: File of further settings as variables; it need not exist.
        account: Under which a system service runs; empty: a unit of the user's own.
    """

    name: str
    python: Path
    home: Path
    port: int
    settings: Path
    account: str = ""


def render(unit: Unit) -> str:
    """Return the text of the unit's file.

    Raises:
        ConfigurationError: When a path cannot stand in a unit.
    """
    if "$" in str(unit.python):
        # systemd replaces variables in the arguments only, Python finds itself by its first one.
        raise _unfit(unit.python)
    home = _quoted(unit.home)
    edit = "systemctl edit" if unit.account else "systemctl --user edit"
    return TEMPLATE.format(
        edit=f"{edit} {unit.name}",
        after="Wants=network-online.target\nAfter=network-online.target\n" if unit.account else "",
        user=f"User={unit.account}\n" if unit.account else "",
        environment=_quoted(unit.home, "IDENT_AMOCRM_HOME="),
        settings=_plain(unit.settings),
        python=_quoted(unit.python),
        port=unit.port,
        stop=STOP_SECONDS,
        hardening=HARDENING.format(home=home) if unit.account else "",
        target="multi-user.target" if unit.account else "default.target",
        own=OWN_SECTION,
        home=unit.home,
    )


def home_of(text: str) -> Path | None:
    """Return the folder of the state that a unit names; ``None`` where we did not write it."""
    _, found, own = text.partition(f"{OWN_SECTION}\nHome=")
    return Path(own.splitlines()[0]) if found and own.strip() else None


def _plain(path: Path) -> str:
    """Return a path as it stands in a line of its own: only percent signs mean something there."""
    text = str(path)
    if not path.is_absolute() or text != text.strip() or text.endswith("\\") or not text.isprintable():
        raise _unfit(path)
    return text.replace("%", "%%")


def _quoted(path: Path, before: str = "") -> str:
    """Return a path as a word among others."""
    text = before + _plain(path)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _unfit(path: Path) -> ConfigurationError:
    return ConfigurationError(
        problem=f"systemd cannot be given this path: {str(path)!r}.",
        remedy="Use an absolute path without line breaks, '$', and spaces or '\\' at its end.",
        code="service_path",
    )
