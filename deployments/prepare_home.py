"""Makes the folder of the state and its password, as the account that ``up`` will run under.

``service install`` runs it (``python -m deployments.prepare_home``): what the account makes is its own, and
one that may not run this Python, or not write there, is found out before the service is installed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from deployments.cli.output import say
from deployments.doors import make_password
from tasks.settings import load_settings

__all__ = ["NO_PASSWORD", "main"]

NO_PASSWORD = "--no-password"  # noqa: S105 - an option


def main(arguments: Sequence[str]) -> int:
    """Prepare the folder that ``IDENT_AMOCRM_HOME`` names."""
    try:
        home = load_settings().prepare_home()
        if NO_PASSWORD not in arguments:
            make_password(home)
    except OSError as error:
        say(f"{error.filename}: {error.strerror}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
