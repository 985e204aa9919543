"""What every process of these tests needs, imported once by the server that forks them."""

from __future__ import annotations

import deployments.sandbox.amocrm.server
import deployments.sandbox.compare
import tasks.extract
import tasks.gate
import tasks.load
import tasks.plan
import tasks.report
import tasks.validate
import tests.faults.child
import tests.support.quick_gate

__all__ = ["deployments", "tasks", "tests"]
