"""Failures on demand: what a network and a busy server do to a client."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

Mode = Literal[
    "drop_before",
    "drop_after",
    "status",
    "html",
    "truncate",
    "slow",
    "hang",
    "reorder",
    "no_request_id",
    "stale_index",
    "ignored_filter",
]


class Fault(BaseModel):
    """A failure that hits the next `count` matching requests; with `every`, each so-many-th, the first too.

    `drop_before` closes the connection with nothing done; `drop_after` does the work first and then closes,
    or answers `status` when one is given. `status` and `html` answer instead of the API, doing the work
    first if `when` is "after". `truncate` cuts the answer in half. `slow` only waits `seconds`; `hang` is
    silent until the client gives up, at most that long, the work done if `when` is "after". `reorder` turns
    the rows of an answer round, `no_request_id` takes their request ids away. `stale_index` lets a search
    find nothing, `ignored_filter` answers as if no filter had been asked for.
    """

    model_config = ConfigDict(extra="forbid")

    mode: Mode
    status: int | None = Field(default=None, ge=200, le=599)
    seconds: float = Field(default=1.0, ge=0)
    count: int = Field(default=1, ge=1)
    method: str | None = None
    path_prefix: str = ""
    when: Literal["before", "after"] = "before"
    every: int = Field(default=1, ge=1)
    _matched: int = PrivateAttr(default=0)

    def hits(self, method: str, path: str) -> bool:
        """Tell whether this request is one to spoil."""
        return (self.method is None or self.method.upper() == method) and path.startswith(self.path_prefix)

    def due(self) -> bool:
        """Count a matching request, and tell whether its turn has come."""
        self._matched += 1
        return (self._matched - 1) % self.every == 0


class Faults:
    """The failures still to come, in the order they were asked for."""

    def __init__(self) -> None:
        self.pending: list[Fault] = []

    def take(self, method: str, path: str) -> Fault | None:
        """Use up one hit of the first failure that matches."""
        for fault in self.pending:
            if fault.hits(method, path) and fault.due():
                fault.count -= 1
                if not fault.count:
                    self.pending.remove(fault)
                return fault.model_copy()
        return None
