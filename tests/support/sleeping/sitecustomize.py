"""For processes under libfaketime: its 0.9.10 lets every ``time.sleep`` of Python 3.11 fail with EINVAL.

That happens where it is told to leave the monotonic clock alone; told to fake it, Prefect's server stands still.
"""

import select
import time


def _sleep(seconds: float) -> None:
    select.select([], [], [], seconds)


time.sleep = _sleep  # type: ignore[assignment]
