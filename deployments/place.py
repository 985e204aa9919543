"""Where the project lies on this machine: a run finds its flow there, wherever its deployment was made."""

from __future__ import annotations

import os
from pathlib import Path

import flows

__all__ = ["enter_project", "project_root"]


def project_root() -> Path:
    """Return the folder that holds ``flows``: the checkout, or where the package is installed."""
    return Path(str(flows.__file__)).resolve().parent.parent


def enter_project() -> dict[str, str]:
    """Make it the working folder: Prefect takes this as a step before it loads a flow."""
    directory = str(project_root())
    os.chdir(directory)
    return {"directory": directory}
