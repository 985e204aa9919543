"""Executing queries: the dialect's differences, ids in lists, rows as columns."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from tasks.ident.connection import may_pass
from tasks.ident.queries import IDS, in_list

__all__ = ["LIST", "Access", "Columns", "chunks"]

logger = logging.getLogger(__name__)

#: Ids in one IN list: SQL Server takes 2 100 parameters.
LIST = 1000
#: Ids of which at least one in so many is asked for are read as a range.
DENSE = 2

Columns = dict[str, list[Any]]


def chunks(ids: Collection[int], size: int = LIST) -> Iterator[list[int]]:
    """Cut ids into lists that fit a statement."""
    ordered = sorted(set(ids))
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


class Access:
    """Reads one database; a connection is taken for each query and given back at once.

    Args:
        engine: Engine of the database.
        page_size: Rows in one page; ids are asked for in lists that are no longer.
    """

    def __init__(self, engine: sa.Engine, page_size: int = LIST) -> None:
        self.is_sqlite = engine.dialect.name == "sqlite"
        schema = {"dbo": None} if self.is_sqlite else {"dbo": "dbo"}
        self._engine = engine.execution_options(schema_translate_map=schema)
        self._list = min(LIST, page_size)

    def fetch(self, query: sa.Select[Any], ids: Sequence[int] | None = None) -> Sequence[sa.Row[Any]]:
        """Return all rows of a query."""
        parameters = {} if ids is None else {IDS: list(ids)}
        with self._engine.connect() as link:
            return link.execute(query, parameters).fetchall()

    def fetch_keys(self, query: sa.Select[Any]) -> Iterator[Any]:
        """Return the only column of many rows, a page at a time, and no row around each value."""
        with self._engine.connect() as link:
            for page in link.execute(query).scalars().partitions(LIST):
                yield from page

    def fetch_in(
        self, query: sa.Select[Any], column: sa.ColumnElement[Any], ids: Collection[int]
    ) -> Iterator[sa.Row[Any]]:
        """Return the rows whose column is one of the ids."""
        restricted = in_list(query, column)
        for part in chunks(ids, self._list):
            yield from self.fetch(restricted, part)

    def fetch_near(
        self, query: sa.Select[Any], column: sa.ColumnElement[Any], ids: Collection[int]
    ) -> Iterator[sa.Row[Any]]:
        """Return the rows whose column is one of the ids, and maybe of others between them.

        A range is a short statement that is compiled once, for us and for the server; a list is a long one
        with a parameter for each id.
        """
        restricted = in_list(query, column)
        for part in chunks(ids, self._list):
            if part[-1] - part[0] < DENSE * len(part):
                yield from self.fetch(query.where(column.between(part[0], part[-1])))
            else:
                yield from self.fetch(restricted, part)

    @staticmethod
    def columns(query: sa.Select[Any], rows: Iterable[sa.Row[Any]]) -> Columns:
        """Turn rows into columns; ``read_sql`` would turn money into floats.

        A few rows at once: where many live at the same time, Python looks for cycles among them all the time.
        """
        columns: Columns = {column.name: [] for column in query.selected_columns}
        remaining = iter(rows)
        while part := list(islice(remaining, LIST)):
            for values, more in zip(columns.values(), zip(*part, strict=True), strict=True):
                values.extend(more)
        return columns

    def now(self) -> datetime:
        """Return the server's wall clock, which is the clinic's."""
        with self._engine.connect() as link:
            moment: datetime = link.execute(sa.select(sa.func.getdate(type_=sa.DateTime()))).scalar_one()
        return pd.Timestamp(moment).to_pydatetime(warn=False)

    def lowest_active_version(self) -> bytes | None:
        """Return the RowVersion from which on rows may still change unseen, ``None`` where it is refused."""
        if self.is_sqlite:
            return None
        try:
            with self._engine.connect() as link:
                value = link.execute(sa.text("SELECT MIN_ACTIVE_ROWVERSION()")).scalar()
        except DBAPIError as error:
            if may_pass(error):
                raise
            logger.warning(
                "The server refuses MIN_ACTIVE_ROWVERSION(): changes are found by DateTimeChanged instead."
            )
            return None
        return None if value is None else bytes(value)
