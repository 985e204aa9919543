"""Stands for Prefect's engine: a run that does what its environment says."""

import os
import signal
import sys
import time
from pathlib import Path

what = os.environ["WHAT"]
Path(os.environ["NOTE"]).write_text(f"{os.getpid()}", encoding="ascii")
if what == "speak":
    sys.stdout.write(f"in {Path.cwd()}\n")
    sys.stderr.write("to the log\n")
    sys.exit(3)
if what == "break":
    raise ValueError(what)


def finish(*_: object) -> None:
    sys.stdout.write("finished what was under way\n")
    sys.exit(0)


signal.signal(signal.SIGTERM, finish)
sys.stdout.write("at work\n")
sys.stdout.flush()
time.sleep(60)
