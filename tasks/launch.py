"""The launch configuration of a clinic: what the operator chose when the transfer was started."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import NotRequired, TypedDict

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["LAUNCH", "NOTIFY", "TRANSFER", "Launch", "Window"]

#: Names of the ledger settings in the scope of a clinic.
LAUNCH = "launch"
TRANSFER = "transfer"
NOTIFY = "notify"


class Window(TypedDict):
    """What an operator asks for at a start; ``None`` leaves the window open on that side."""

    history_days: int | None
    ahead_days: NotRequired[int | None]
    deals: NotRequired[bool]


class Launch(BaseModel):
    """What part of the schedule is transferred.

    The window has fixed ends, not sliding ones: an appointment that was inside stays inside, so its bill and
    its cancellation arrive also when they are entered days later.

    Attributes:
        from_day: First day, clinic-local; ``None`` is all history.
        to_day: Last day; ``None`` is as far ahead as anybody booked.
        deals: Whether appointments become deals; otherwise only patients become contacts. A deal that is
            there already goes on being kept up to date.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    from_day: date | None = Field(default=None, title="С какого дня передавать приёмы")
    to_day: date | None = Field(default=None, title="По какой день передавать приёмы")
    deals: bool = Field(default=True, title="Передавать приёмы сделками")

    @classmethod
    def starting(
        cls, today: date, *, history_days: int | None, ahead_days: int | None = None, deals: bool = True
    ) -> Launch:
        """Return the launch of a window around today; ``None`` leaves it open on that side."""
        return cls(
            from_day=None if history_days is None else today - timedelta(days=history_days),
            to_day=None if ahead_days is None else today + timedelta(days=ahead_days),
            deals=deals,
        )

    @property
    def start(self) -> datetime | None:
        """First instant, clinic-local."""
        return None if self.from_day is None else datetime.combine(self.from_day, time.min)

    @property
    def end(self) -> datetime | None:
        """Last instant, clinic-local."""
        return None if self.to_day is None else datetime.combine(self.to_day, time.max)
