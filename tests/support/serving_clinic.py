"""``python -m tests.support.serving_clinic PATIENTS APPOINTMENTS``: a clinic on the T-SQL server until killed.

For deployments.sandbox.extraction: a server in the reader's own process would be measured with it.
"""

from __future__ import annotations

import json
import sys
import threading

from deployments.sandbox.clinic.generator import ClinicSpec
from tests.support.clinic_database import TIMEZONE, clinic_now, free_tds, opened


def main(patients: int, appointments: int) -> None:
    driver = free_tds()
    if driver is None:
        sys.exit("no freetds driver here: make odbc")
    spec = ClinicSpec(today=clinic_now().date(), patients=patients, appointments=appointments)
    with opened(spec, driver) as clinic:
        told = {
            "host": clinic.host,
            "port": clinic.port,
            "database": clinic.name,
            "user": clinic.user,
            "password": clinic.password,
            "driver": driver,
            "timezone": TIMEZONE,
        }
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
        threading.Event().wait()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
