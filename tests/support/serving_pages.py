"""The server of the Data Docs, in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from deployments.data_docs import application
from tests.support.ports import free_port

__all__ = ["serving"]


@contextmanager
def serving(folder: Path, credentials: str = "", names: Collection[str] = ()) -> Iterator[str]:
    """Serve a folder of pages; yields the address."""
    port = free_port()
    served = application(folder, credentials=credentials, names=names)
    server = uvicorn.Server(uvicorn.Config(served, port=port, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < until
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30)
