"""ODBC drivers: which one there is, and how each wants to be told the same thing."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from tasks.errors import ConfigurationError

if TYPE_CHECKING:
    from tasks.ident.connection import IdentConnection

__all__ = ["connection_string", "find_driver", "load_pyodbc"]

PREFERRED = (
    "ODBC Driver 18 for SQL Server",
    "ODBC Driver 17 for SQL Server",
    "ODBC Driver 13.1 for SQL Server",
    "ODBC Driver 13 for SQL Server",
    "FreeTDS",
)
#: Always there on Windows; they do not know the newer types, so they come last.
LEGACY = ("SQL Server Native Client 11.0", "SQL Server")
FREETDS_FILES = ("/usr/lib/*/odbc/libtdsodbc.so", "/usr/lib64/libtdsodbc.so*", "/usr/lib/libtdsodbc.so*")
INSTALL = "On Debian or Ubuntu: sudo apt-get install -y unixodbc tdsodbc. Else: docs/how-to/install-odbc.md"
#: SQL Server's own; IDENT's installations name theirs.
DEFAULT_PORT = 1433
LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def load_pyodbc() -> ModuleType:
    """Import pyodbc, which on Linux needs the system's libodbc.

    Raises:
        ConfigurationError: When it is not there.
    """
    try:
        import pyodbc  # noqa: PLC0415 - the sandbox runs without libodbc
    except ImportError:
        raise ConfigurationError(
            problem="The ODBC library of this system (libodbc) is not installed.",
            remedy=INSTALL,
            code="driver_missing",
        ) from None
    module: ModuleType = pyodbc
    # Our engine keeps its own pool; a second one below it would hand out connections to a dead server.
    vars(module)["pooling"] = False
    return module


def find_driver(preferred: str = "auto") -> str:
    """Return the name or file of an ODBC driver for SQL Server.

    Args:
        preferred: A driver's name or file, or ``auto``.

    Raises:
        ConfigurationError: When there is none.
    """
    if preferred != "auto":
        return preferred
    installed: Sequence[str] = load_pyodbc().drivers()
    for name in PREFERRED:
        if name in installed:
            return name
    for pattern in FREETDS_FILES:
        found = sorted(Path("/").glob(pattern.lstrip("/")))
        if found:
            return str(found[-1])
    if wheel := _wheel_driver():
        return wheel
    for name in LEGACY:
        if name in installed:
            return name
    raise ConfigurationError(
        problem="No ODBC driver for SQL Server is installed.", remedy=INSTALL, code="driver_missing"
    )


def _wheel_driver() -> str | None:
    """Return the driver file of the pip package ``mssql-python-odbc``, where it is installed."""
    spec = importlib.util.find_spec("mssql_python_odbc")
    if spec is None or spec.origin is None:
        return None
    libraries = Path(spec.origin).parent / "libs"
    found = sorted(libraries.glob("linux/debian_ubuntu/*/lib/libmsodbcsql-*.so*"))
    found = found or sorted(libraries.glob("**/libmsodbcsql*")) or sorted(libraries.glob("**/msodbcsql*.dll"))
    return str(found[-1]) if found else None


def connection_string(connection: IdentConnection, driver: str) -> str:
    """Return the ODBC connection string.

    FreeTDS and Microsoft's driver share no word about ports and encryption, and ignore each other's
    silently: what is passed to one must never be believed of the other.
    """
    free = "freetds" in driver.lower() or "tdsodbc" in driver.lower()
    quoted = _quoted_for_freetds if free else _quoted
    parts = _freetds(connection) if free else _microsoft(connection)
    parts |= {
        "DATABASE": connection.database,
        "UID": connection.user,
        "PWD": connection.password.get_secret_value(),
        "APP": "ident-amocrm",
    }
    # The driver's name is read by the ODBC manager, the rest by the driver.
    return ";".join(
        [f"DRIVER={_quoted(driver)}", *(f"{name}={quoted(value)}" for name, value in parts.items())]
    )


def _freetds(connection: IdentConnection) -> dict[str, str]:
    encryption = {"auto": "request", "optional": "request", "mandatory": "require", "off": "off"}
    place = (
        {"SERVER": f"{connection.host}\\{connection.instance}"}
        if connection.instance
        else {"SERVER": connection.host, "PORT": str(connection.port or DEFAULT_PORT)}
    )
    return {
        **place,
        "TDS_Version": "7.4",
        "ClientCharset": "UTF-8",
        "Encryption": encryption[connection.encryption],
        "ApplicationIntent": "ReadOnly",
    }


def _microsoft(connection: IdentConnection) -> dict[str, str]:
    local = connection.host in LOOPBACK
    # Also with "no" the login itself travels inside TLS; data stay on this machine.
    encryption = {"auto": "no" if local else "yes", "optional": "no", "mandatory": "yes", "off": "no"}
    server = (
        f"{connection.host}\\{connection.instance}"
        if connection.instance
        else f"tcp:{connection.host},{connection.port or DEFAULT_PORT}"
    )
    return {
        "SERVER": server,
        "Encrypt": encryption[connection.encryption],
        "TrustServerCertificate": "yes" if connection.trust_certificate else "no",
        "ApplicationIntent": "ReadOnly",
    }


def _quoted(value: str) -> str:
    if value and not set(value) & set(";{}[](),?*=!@ "):
        return value
    escaped = value.replace("}", "}}")
    return f"{{{escaped}}}"


def _quoted_for_freetds(value: str) -> str:
    """Quote a value for FreeTDS, which knows no doubled brace: a braced value ends at the first ``};``.

    Raises:
        ConfigurationError: When it holds just that.
    """
    if "}" not in value:
        return _quoted(value)
    if "};" in value:
        raise ConfigurationError(
            problem='FreeTDS cannot take a password, user or database name with "};" in it.',
            remedy="Ask for another password, or install Microsoft's ODBC driver.",
            code="password_unusable",
        )
    plain = ";" not in value and not value.startswith("{") and value == value.strip()
    return value if plain else f"{{{value}}}"
