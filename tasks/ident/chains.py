"""Reschedule chains: what a reception replaced and what replaced it, kept or left as a whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

import sqlalchemy as sa

from tasks.ident.access import LIST, Access
from tasks.ident.introspect import Catalogue
from tasks.ident.marks import Window
from tasks.ident.schema import TABLES

__all__ = ["Chains"]

RECEPTIONS = TABLES["Receptions"]
SOURCE = RECEPTIONS.c.ID_ReceptionsTransferFrom
#: From this many ids on the whole table's keys are read at once instead of list after list.
MANY = 5 * LIST


class Chains:
    """Finds the chains of receptions in one database."""

    def __init__(self, access: Access, catalogue: Catalogue) -> None:
        self._access = access
        self._linked = catalogue.has("Receptions", "ID_ReceptionsTransferFrom")

    def closed(self, ids: Collection[int]) -> frozenset[int]:
        """Close ids over their chains, in both directions; a chain may name what was deleted since."""
        if len(ids) > MANY:
            return self._reached(ids) & self._keys(RECEPTIONS.c.ID.is_not(None))
        known = set(ids)
        frontier = known if self._linked else set()
        while frontier:
            backwards = self._access.fetch_in(sa.select(SOURCE), RECEPTIONS.c.ID, frontier)
            forwards = self._access.fetch_in(sa.select(RECEPTIONS.c.ID), SOURCE, frontier)
            frontier = {row[0] for row in (*backwards, *forwards)} - {None} - known
            known |= frontier
        query = sa.select(RECEPTIONS.c.ID)
        return frozenset(row[0] for row in self._access.fetch_in(query, RECEPTIONS.c.ID, known))

    def within(self, ids: Collection[int], window: Window) -> frozenset[int]:
        """Return the chains of ids that have a row in the window, and single rows without a start."""
        chained = self.closed(ids)
        if not window.bounded or not chained:
            return chained
        if len(chained) > MANY:
            return self.closed(chained & self._keys(window.condition)) | (chained & self._keys(window.bare))
        inside, bare = (
            {
                row[0]
                for row in self._access.fetch_in(
                    sa.select(RECEPTIONS.c.ID).where(condition), RECEPTIONS.c.ID, chained
                )
            }
            for condition in (window.condition, window.bare)
        )
        return self.closed(inside) | bare

    def of_window(self, window: Window) -> frozenset[int]:
        """Return all chains that have a row in the window, and single rows without a start."""
        inside = self._keys(window.condition)
        reached = self._reached(inside) - inside
        bare = self._keys(window.bare) if window.bounded else frozenset()
        return inside | bare | (self.closed(reached) if reached else frozenset())

    def reachable(self, window: Window) -> sa.ColumnElement[bool]:
        """The window as a condition on receptions, widened by all that a chain may tie to it."""
        if not window.bounded or not self._linked:
            return sa.or_(window.condition, window.bare)
        newer = RECEPTIONS.alias("newer")
        replaced = sa.exists(
            sa.select(newer.c.ID).where(newer.c.ID_ReceptionsTransferFrom == RECEPTIONS.c.ID)
        )
        return sa.or_(window.condition, window.bare, SOURCE.is_not(None), replaced)

    def _keys(self, condition: sa.ColumnElement[bool]) -> frozenset[int]:
        return frozenset(self._access.fetch_keys(sa.select(RECEPTIONS.c.ID).where(condition)))

    def _reached(self, ids: Collection[int]) -> frozenset[int]:
        """Close many ids over chains, deleted receptions included: all links are few, and read at once."""
        neighbours: dict[int, set[int]] = defaultdict(set)
        if self._linked:
            query = sa.select(RECEPTIONS.c.ID, SOURCE).where(SOURCE.is_not(None))
            for child, parent in self._access.fetch(query):
                neighbours[child].add(parent)
                neighbours[parent].add(child)
        known = set(ids)
        frontier = [key for key in neighbours if key in known]
        while frontier:
            for other in neighbours[frontier.pop()] - known:
                known.add(other)
                frontier.append(other)
        return frozenset(known)
