"""Known vulnerabilities in the tested set of packages (deployments/constraints.txt).

Asks PyPI, or the OSV service that ``AUDIT_OSV_URL`` names (a mirror inside a closed network). Where neither
answers it says loudly that nothing was audited, and ends well: a missing network is no vulnerability.
pip-audit itself is fetched by uv only then, so it is no dependency of anything.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PIP_AUDIT = "pip-audit==2.10.1"
#: Where advisories stand; a mirror of packages has the package and not this.
PROBE = "https://pypi.org/pypi/pip/24.0/json"
PROBE_SECONDS, AUDIT_SECONDS = 3.0, float(os.environ.get("AUDIT_SECONDS", "120"))


def main() -> int:
    """Audit; 1 when something is found."""
    osv = os.environ.get("AUDIT_OSV_URL", "")
    if not _answers(osv or PROBE):
        return _skipped(f"{osv or 'PyPI'} cannot be asked for advisories from here.")
    service = ["--vulnerability-service", "osv", "--osv-url", osv] if osv else []
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    command = [
        *(uv or "uv", "tool", "run", "--from", PIP_AUDIT, "pip-audit"),
        *("--requirement", str(ROOT / "deployments/constraints.txt"), "--no-deps", "--disable-pip"),
        *("--format", "json", "--progress-spinner", "off", *service),
    ]
    try:
        done = subprocess.run(  # noqa: S603 - our own arguments
            command, capture_output=True, text=True, timeout=AUDIT_SECONDS, check=False
        )
        report = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        return _skipped(f"pip-audit could not be run ({type(error).__name__}).")
    found, audited = judge(report)
    if not audited:
        return _skipped("the service knows none of the packages.")
    print("\n".join([*found, f"{audited} packages audited, {len(found)} known vulnerabilities."]))
    return 1 if found else 0


def judge(report: dict[str, Any]) -> tuple[list[str], int]:
    """Return what pip-audit found, a line each, and how many packages it could judge.

    A package that the service does not know is reported with a reason instead of vulnerabilities, and
    pip-audit ends well all the same: counted as audited it would be a false all-clear.
    """
    audited = [one for one in report.get("dependencies", ()) if "skip_reason" not in one]
    found = [
        f"{one['name']} {one['version']}: {flaw['id']}, fixed in {', '.join(flaw['fix_versions']) or '-'}"
        for one in audited
        for flaw in one["vulns"]
    ]
    return found, len(audited)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=PROBE_SECONDS):  # noqa: S310 - https, or the mirror that was named
            return True
    except urllib.error.HTTPError:
        return url != PROBE  # an OSV service wants a POST; it is there all the same
    except (OSError, ValueError):
        return False


def _skipped(why: str) -> int:
    print(f"*** DEPENDENCIES NOT AUDITED: {why} Run make audit where there is a network. ***")
    return 0


if __name__ == "__main__":
    sys.exit(main())
