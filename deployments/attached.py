"""Runs a module, and ends it when the process that started it is gone.

``python -m deployments.attached prefect server start`` holds standard input open towards its parent. When the
parent closes it, or is killed without a chance to, this process terminates itself: a server or worker never
outlives ``up``, and a second one never runs beside it.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading


def _follow_parent() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Run the module named by the first argument as the main program."""
    # A shell's background job inherits SIGINT as ignored, and Prefect turns SIGTERM into SIGINT for itself:
    # a worker would not stop and go on taking runs.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_follow_parent, daemon=True).start()
    module = sys.argv[1]
    del sys.argv[0]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
