"""The launch configuration of a clinic: what the operator chose when the transfer was started."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["LAUNCH", "NOTIFY", "TRANSFER", "Launch"]

#: Names of the ledger settings in the scope of a clinic.
LAUNCH = "launch"
TRANSFER = "transfer"
NOTIFY = "notify"


class Launch(BaseModel):
    """What part of the schedule is transferred.

    The window has fixed ends, not sliding ones: an appointment that was inside stays inside, so its bill and
    its cancellation arrive also when they are entered days later.

    Attributes:
        from_day: First day, clinic-local; ``None`` is all history.
        to_day: Last day; ``None`` is as far ahead as anybody booked.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    from_day: date | None = Field(default=None, title="С какого дня передавать приёмы")
    to_day: date | None = Field(default=None, title="По какой день передавать приёмы")

    @classmethod
    def starting(cls, today: date, *, history_days: int | None, ahead_days: int | None = None) -> Launch:
        """Return the launch of a window around today; ``None`` leaves it open on that side."""
        return cls(
            from_day=None if history_days is None else today - timedelta(days=history_days),
            to_day=None if ahead_days is None else today + timedelta(days=ahead_days),
        )

    @property
    def start(self) -> datetime | None:
        """First instant, clinic-local."""
        return None if self.from_day is None else datetime.combine(self.from_day, time.min)

    @property
    def end(self) -> datetime | None:
        """Last instant, clinic-local."""
        return None if self.to_day is None else datetime.combine(self.to_day, time.max)
