"""A PostgreSQL server of its own for a measurement or a test, on a socket in a folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

__all__ = ["databases", "programs", "serve"]


def programs() -> Path | None:
    """Return the folder of PostgreSQL's programs; ``None`` where there are none (``make postgresql``)."""
    found = shutil.which("initdb") or next(
        (str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None
    )
    return Path(found).resolve().parent if found else None


@contextmanager
def serve(place: Path) -> Iterator[str]:
    """Run a server, and give the address of its database.

    Args:
        place: The folder of PostgreSQL's programs.
    """
    # A folder of its own: a socket's path must be short, and the server's user be able to reach it.
    with tempfile.TemporaryDirectory(prefix="ident-amocrm-pg-") as name:
        folder = Path(name)
        owner: dict[str, Any] = {"cwd": "/"}
        if os.name != "nt" and os.geteuid() == 0:  # PostgreSQL refuses to run as root
            owner |= {"user": "postgres", "group": "postgres"}
            shutil.chown(folder, "postgres", "postgres")
        data = folder / "data"

        def run(*command: str | Path) -> None:
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **owner)  # noqa: S603 - PostgreSQL's own

        run(place / "initdb", "-D", data, "-A", "trust", "-U", "tester", "-E", "UTF8")
        options = f"-c listen_addresses='' -k {folder} -c fsync=off"
        run(place / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start")
        try:
            yield f"postgresql+psycopg://tester@/postgres?host={folder}"
        finally:
            run(place / "pg_ctl", "-D", data, "-m", "immediate", "stop")


def databases(server: str, count: int) -> list[str]:
    """Create databases on a server, and return their addresses."""
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    names = [f"measured_{number}" for number in range(count)]
    with closing(engine.connect()) as link:
        for name in names:
            link.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return [engine.url.set(database=name).render_as_string(hide_password=False) for name in names]
