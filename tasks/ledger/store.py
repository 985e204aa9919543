"""The ledger as one object."""

from __future__ import annotations

from tasks.ledger.administration import Administration, ConnectionRecord
from tasks.ledger.counts import Counts
from tasks.ledger.database import Database
from tasks.ledger.erasures import Erasures
from tasks.ledger.history import History
from tasks.ledger.inspection import Inspection
from tasks.ledger.journal import Journal
from tasks.ledger.quality import Quality
from tasks.ledger.resend import Resend
from tasks.ledger.sent import SentRows
from tasks.ledger.snapshot import AppliedIndex, Snapshot
from tasks.ledger.subscriptions import Subscriptions
from tasks.ledger.waivers import Waivers

__all__ = ["AppliedIndex", "ConnectionRecord", "Ledger"]


class Ledger(
    Snapshot,
    SentRows,
    Resend,
    Journal,
    Counts,
    History,
    Quality,
    Subscriptions,
    Waivers,
    Erasures,
    Inspection,
    Administration,
):
    """What was sent, what is owed, who may write, how the installation is set up.

    Every method is one short transaction; the object may be shared by threads.
    """

    def __init__(self, url: str) -> None:
        self.database = Database(url)

    def open(self) -> Ledger:
        """Create or migrate the tables.

        Raises:
            ConfigurationError: When a newer version of this project wrote the ledger.
        """
        self.database.migrate()
        return self

    def close(self) -> None:
        """Close all connections."""
        self.database.close()
