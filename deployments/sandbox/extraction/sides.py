"""How each side reads a clinic: our reader to canonical frames, the others the same tables as they are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import pandas as pd

from tasks.frames import Entity
from tasks.ident.connection import IdentConnection, build_engine
from tasks.ident.drivers import connection_string, find_driver
from tasks.ident.introspect import introspect
from tasks.ident.reader import IdentReader, Window
from tasks.ident.schema import TABLES

__all__ = ["BASELINE", "FILE", "OURS", "SERVER", "Frames", "digest", "queries"]

OURS, BASELINE = "ident-amocrm", "pandas.read_sql"
#: arrow-odbc's buffers: rows, and characters of a text whose column tells no length, ``nvarchar(max)``. With
#: its default of 65 535 rows it takes gigabytes and most of its time for them.
ROWS, LONGEST = 1000, 4000

Frames = Mapping[Any, pd.DataFrame]


def queries(connection: IdentConnection) -> dict[str, str]:
    """Return one query for each table, of the columns that our reader knows and this clinic has."""
    engine = build_engine(connection)
    catalogue = introspect(engine)
    engine.dispose()
    found = {}
    for name, table in TABLES.items():
        columns = [f"[{column.name}]" for column in table.c if catalogue.has(name, column.name)]
        if columns:
            found[name] = f"SELECT {', '.join(columns)} FROM [{name}]"
    return found


def _ours(connection: IdentConnection, _queries: Mapping[str, str]) -> Frames:
    """A full read: what changed, patients, appointments with their chains."""
    reader = IdentReader(build_engine(connection), connection)
    changes = reader.everything(Window())
    patients = pd.concat(reader.patients(None), ignore_index=True)
    appointments = pd.concat(reader.appointments(changes.appointments), ignore_index=True)
    reader.close()
    return {Entity.PATIENT: patients, Entity.APPOINTMENT: appointments}


def _read_sql(connection: IdentConnection, wanted: Mapping[str, str]) -> Frames:
    import sqlalchemy as sa  # noqa: PLC0415 - each side imports what is its own

    engine = build_engine(connection)
    with engine.connect() as link:
        frames = {name: pd.read_sql(sa.text(query), link) for name, query in wanted.items()}
    engine.dispose()
    return frames


def _connectorx(connection: IdentConnection, wanted: Mapping[str, str]) -> Frames:
    import connectorx  # noqa: PLC0415

    address = f"sqlite://{connection.database}"
    tables: dict[str, Any] = {
        name: connectorx.read_sql(address, query, return_type="arrow") for name, query in wanted.items()
    }
    return {name: table.to_pandas() for name, table in tables.items()}


def _arrow_odbc(connection: IdentConnection, wanted: Mapping[str, str]) -> Frames:
    import pyarrow as pa  # noqa: PLC0415
    from arrow_odbc import read_arrow_batches_from_odbc  # noqa: PLC0415

    address = connection_string(connection, find_driver(connection.driver))
    frames = {}
    for name, query in wanted.items():
        batches = read_arrow_batches_from_odbc(query, address, ROWS, max_text_size=LONGEST)
        frames[name] = pa.Table.from_batches(batches, batches.schema).to_pandas()
    return frames


Side = tuple[Callable[[IdentConnection, Mapping[str, str]], Frames], str]
#: Side -> how it reads, and the package that is told; of a SQLite file, and over ODBC.
FILE: Final[dict[str, Side]] = {
    OURS: (_ours, ""),
    BASELINE: (_read_sql, "pandas"),
    "connectorx": (_connectorx, "connectorx"),
}
SERVER: Final[dict[str, Side]] = {
    OURS: (_ours, ""),
    BASELINE: (_read_sql, "pandas"),
    "arrow-odbc": (_arrow_odbc, "arrow-odbc"),
}


def digest(frames: Frames, zone: Any) -> dict[str, Any]:
    """Return how many patients and appointments were read, and a digest of who and when."""
    if Entity.PATIENT in frames:
        patients = frames[Entity.PATIENT]["patient_id"]
        visits = frames[Entity.APPOINTMENT]
        keys = visits["appointment_id"]
        starts = visits["start_at"].dt.tz_convert(zone).dt.tz_localize(None)
    else:
        patients = frames["Patients"]["ID_Persons"]
        keys = frames["Receptions"]["ID"]
        starts = pd.to_datetime(frames["Receptions"]["PlanStart"])
    told = hashlib.sha256(repr(sorted(patients.astype("int64").tolist())).encode())
    planned = pd.Series(starts.astype("datetime64[s]").to_numpy(), index=keys.astype("int64")).sort_index()
    told.update(repr(planned.index.tolist()).encode())
    told.update(planned.to_numpy().tobytes())
    return {"patients": len(patients), "appointments": len(keys), "digest": told.hexdigest()[:16]}
