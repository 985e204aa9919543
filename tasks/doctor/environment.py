"""What the environment says to the program: names always, values only where they are no secret."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from tasks.doctor.findings import Finding, State
from tasks.settings import Settings

__all__ = ["check_environment", "described_variables", "shown_value"]

AREA: Final = "Environment"
PREFIX: Final = "IDENT_AMOCRM_"
#: Ours that are no settings: of the demo and the tests.
OTHERS: Final = ("PREFECT_", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
#: Values that are paths.
PATHS: Final = frozenset(
    {"IDENT_AMOCRM_HOME", "IDENT_AMOCRM_CA_BUNDLE", "IDENT_AMOCRM_ALERT_FILE", "PREFECT_HOME"}
    | {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"}
)
#: A file of certificates that a variable names must be there.
CERTIFICATES: Final = ("IDENT_AMOCRM_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
HOST: Final = re.compile(r"[\w.:-]{0,253}")
SIMPLE: Final = re.compile(r"[A-Za-z]{1,5}|-?\d{1,6}(\.\d{1,4})?")


def _concerns_us(name: str) -> bool:
    return name.startswith((PREFIX, *OTHERS)) or name.endswith("_PROXY")


def shown_value(name: str, value: str) -> str:
    """Return as much of a variable's value as may be shown to anybody.

    Of an address only scheme, host and port are kept: before and behind them secrets have their place. A
    number or a switch is shown where the setting is one. All else is only said to be set.
    """
    upper = name.upper()
    if not value:
        return "(empty)"
    if upper in PATHS:
        return value
    if upper.endswith(("_URL", "_PROXY")) and upper != "NO_PROXY":
        return _place(value)
    field = (
        Settings.model_fields.get(upper.removeprefix(PREFIX).lower()) if upper.startswith(PREFIX) else None
    )
    is_plain = field is not None and field.annotation in {int, float, bool}
    return value if is_plain and SIMPLE.fullmatch(value) else "(set)"


def _place(address: str) -> str:
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "(set)"
    if not HOST.fullmatch(parts.hostname or "") or not (parts.scheme or port):
        return "(set)"  # no address: it may be a secret in the wrong place
    scheme = f"{parts.scheme}://" if parts.scheme else ""
    hidden = " (credentials hidden)" if "@" in parts.netloc else ""
    return f"{scheme}{parts.hostname or ''}{port}{hidden}"


def described_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that concern the program, each with what may be shown of its value."""
    return {
        name: shown_value(name, value)
        for name, value in sorted(environ.items())
        if _concerns_us(name.upper())
    }


def check_environment(environ: Mapping[str, str], *, also: Iterable[str] = ()) -> list[Finding]:
    """Tell what is set, what nobody reads, and which files are named but missing.

    Args:
        environ: The environment, as it was before the program set anything itself.
        also: Names of ours that are no settings.
    """
    shown = ", ".join(f"{name}={value}" for name, value in described_variables(environ).items())
    found = [Finding(AREA, "variables", State.OK, shown or "none that concern this program")]
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | set(also)
    strange = sorted(
        name for name in environ if name.upper().startswith(PREFIX) and name.upper() not in known
    )
    if strange:
        text = f"No setting has this name: {', '.join(strange)}. Nobody reads it."
        remedy = "Correct the name: docs/reference/settings.md"
        found.append(Finding(AREA, "unknown settings", State.WARNING, text, remedy, "setting_unknown"))
    for name in CERTIFICATES:
        if (path := environ.get(name)) and not Path(path).exists():
            text = f"{name} names a file that is not there: {path}"
            found.append(
                Finding(AREA, "certificates", State.FAULT, text, f"Correct {name}, or unset it.", "ca_bundle")
            )
    if environ.get(f"{PREFIX}VERIFY_TLS", "").lower() in {"0", "false", "no", "off", "f", "n"}:
        text = "amoCRM's certificate is not checked: anybody on the way may listen."
        remedy = f"Unset {PREFIX}VERIFY_TLS; name your own authority by {PREFIX}CA_BUNDLE."
        found.append(Finding(AREA, "certificates", State.WARNING, text, remedy, "tls_unchecked"))
    return found
