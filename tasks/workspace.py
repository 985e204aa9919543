"""The working memory of one run.

Prefect stores what tasks are handed and what they return, in clear. So the steps hand one another the id of
a run only; rows live here, in the process, and nowhere else: no file is left behind by a killed run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import lru_cache
from threading import Lock
from typing import Any, Final, cast
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.amocrm.client import AmoClient
from tasks.errors import NotConnectedError
from tasks.frames import Entity, empty_frame
from tasks.ident.connection import IdentConnection
from tasks.ident.reader import Changes, IdentReader
from tasks.launch import Launch
from tasks.ledger.hashing import FieldHasher
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.ledger.waivers import WaiverRecord
from tasks.loading.ports import Load
from tasks.mapping.drift import Drift
from tasks.mapping.model import Mapping as CardMapping
from tasks.reconciling.compare import Comparison
from tasks.records import Account, CustomField, Kind, Pipeline, PlanRow, RemoteContact
from tasks.settings import Settings

__all__ = ["Ahead", "CardTable", "Workspace", "close_workspace", "open_workspace", "workspace"]

#: Cards whose texts are made at once, and how many such blocks are kept.
BLOCK: Final = 1000
KEPT_BLOCKS: Final = 16
Render = Callable[[pd.DataFrame], pd.DataFrame]


class CardTable:
    """Cards of one kind by source id: their hashes, and their texts, made when somebody asks for them.

    A full read compares a million cards by their hashes and sends ten of them: the texts of all would take
    gigabytes.

    Attributes:
        hashes: Keyed hash of every datum, indexed by source id.
        row_hashes: Hash of each row, in the order of ``hashes``.
    """

    def __init__(
        self, hashes: pd.DataFrame, row_hashes: npt.NDArray[np.int64], rows: pd.DataFrame, render: Render
    ) -> None:
        """Keep what the cards are made of.

        Args:
            hashes: Keyed hash of every datum, indexed by source id.
            row_hashes: Hash of each row, in the same order.
            rows: Canonical rows, in the same order.
            render: Makes the texts of some of them.
        """
        self.hashes, self.row_hashes = hashes, row_hashes
        self._values: npt.NDArray[np.int64] = hashes.to_numpy(dtype=np.int64)
        self._rows, self._render = rows, render
        # Rows are asked for one by one and mostly in their order, by several threads.
        self._block = lru_cache(maxsize=KEPT_BLOCKS)(self._rendered)
        # All who send begin in the same block: one of them makes its texts, and no text is made eight times.
        self._lock = Lock()

    def __contains__(self, key: int) -> bool:
        return key in self.hashes.index

    def _place(self, key: int) -> int:
        return cast("int", self.hashes.index.get_loc(key))  # of unique keys it is no slice and no mask

    def _rendered(self, block: int) -> dict[str, npt.NDArray[np.object_]]:
        """Return some cards column-wise as plain objects: one row of a frame takes a hundred times longer."""
        texts = self._render(self._rows.iloc[block * BLOCK : (block + 1) * BLOCK])
        return {
            str(name): texts[name].astype(object).where(texts[name].notna(), None).to_numpy()
            for name in texts
        }

    def texts(self, key: int) -> dict[str, str | None]:
        """Return the texts of one card."""
        block, place = divmod(self._place(key), BLOCK)
        with self._lock:
            columns = self._block(block)
        return {name: column[place] for name, column in columns.items()}

    def hashes_of(self, key: int) -> dict[str, int]:
        """Return the hashes of one card."""
        row = self._values[self._place(key)]
        return {name: int(value) for name, value in zip(self.hashes.columns, row, strict=True)}

    def row_hash(self, key: int) -> int:
        """Return the hash of one row."""
        return int(self.row_hashes[self._place(key)])


@dataclass(slots=True)
class Ahead:
    """What is sent before the plan is whole.

    Attributes:
        rows: The planned rows, in the order of the plan.
        run: State of the load, which goes on with the rest of the plan.
        sending: The end of sending them.
    """

    rows: list[PlanRow]
    run: Load
    sending: Future[None]


@dataclass(slots=True)
class Workspace:
    """Everything one run of one clinic works with."""

    run_id: str
    clinic: ConnectionRecord
    connection: IdentConnection
    settings: Settings
    ledger: Ledger
    reader: IdentReader
    client: AmoClient
    hasher: FieldHasher
    mode: str
    dry_run: bool
    guard: Callable[[], None]
    release: Callable[[], None]
    launch: Launch = field(default_factory=Launch)
    account: Account | None = None
    mapping: CardMapping | None = None
    pipelines: tuple[Pipeline, ...] = ()
    contact_fields: tuple[CustomField, ...] = ()
    drifts: tuple[Drift, ...] = ()  # what the mapping names and amoCRM lost; left out of the mapping here
    schema: str = ""  # digest of the mapping and of what the account offers it
    warnings: list[str] = field(default_factory=list)
    changes: Changes | None = None
    full: bool = False
    seen: dict[str, Any] = field(default_factory=dict)  # see tasks.seen
    patients: pd.DataFrame = field(default_factory=lambda: empty_frame(Entity.PATIENT))
    appointments: pd.DataFrame = field(default_factory=lambda: empty_frame(Entity.APPOINTMENT))
    extracted: dict[str, int] = field(default_factory=lambda: {"patients": 0, "appointments": 0})
    gone: dict[Kind, frozenset[int]] = field(default_factory=dict)
    patient_ids: frozenset[int] = frozenset()  # as read, before what is wrong was kept back
    broken: Counter[str] = field(default_factory=Counter)  # failing rows by rule
    withheld: dict[Entity, dict[int, frozenset[str]]] = field(default_factory=dict)  # data, by row
    left_out: dict[Kind, dict[int, frozenset[str]]] = field(default_factory=dict)  # the same, by card
    counts: dict[str, int] = field(default_factory=dict)  # rows of the tables in IDENT
    remarks: list[str] = field(default_factory=list)  # rules about a whole table that failed and stop nothing
    invalid: int = 0
    incomplete: int = 0  # rows that go without a value
    fresh_rejects: int = 0  # of them, those nobody has been told about yet
    waivers: tuple[WaiverRecord, ...] | None = None  # as they were when the run began, see tasks.waived
    waivers_at: float = 0.0
    stops: list[str] = field(default_factory=list)
    # Verdicts of the gate with their entity and rows, until they are shown; and the pages made of them.
    verdicts: list[tuple[Entity, int, Any]] = field(default_factory=list, repr=False)
    pages: dict[str, str] = field(default_factory=dict)
    unknown: dict[Kind, frozenset[int]] = field(default_factory=dict)
    cards: dict[Kind, CardTable] = field(default_factory=dict)
    stage_keys: Mapping[int, str] = field(default_factory=dict)
    primaries: Mapping[int, bool] = field(default_factory=dict)
    owners: Mapping[int, int] = field(default_factory=dict)
    parents: dict[int, int] = field(default_factory=dict)  # which appointment each one replaced, as read
    starts: Mapping[int, pd.Timestamp] = field(default_factory=dict)
    silent: dict[Kind, list[int]] = field(default_factory=dict)
    plan: list[PlanRow] = field(default_factory=list)
    early: Future[tuple[Changes, pd.DataFrame]] | None = None  # see tasks.extract.read_first
    ahead: Ahead | None = None  # contacts of a first load, on their way while appointments are read
    compared: dict[Kind, Comparison] = field(default_factory=dict)
    looked_at: dict[Kind, int] = field(default_factory=dict)  # entities of amoCRM that were compared
    seconds: dict[str, float] = field(default_factory=dict)
    # What tasks.rebaseline needs: whether a person confirmed, whether this run only counts, what it found.
    rebaseline: bool = False
    rehearsal: dict[str, Any] = field(default_factory=dict)
    baselined: bool = False
    adopted: int = 0
    origin: Ledger | None = None  # the ledger itself, while a dry run works on a copy
    all_contacts: list[RemoteContact] | None = field(default=None, repr=False)
    found_contacts: dict[int, tuple[int, ...]] = field(default_factory=dict)

    @property
    def zone(self) -> ZoneInfo:
        """Zone of the clinic."""
        return ZoneInfo(self.clinic.timezone)

    @property
    def uid(self) -> str:
        """The clinic's unchanging id."""
        return self.clinic.clinic_uid

    def settled_account(self) -> Account:
        """Return the account; the gate has read it before any other step."""
        if self.account is None:
            raise NotConnectedError(
                problem="The gate was not passed.", remedy="Start the sync flow as a whole."
            )
        return self.account

    def settled_mapping(self) -> CardMapping:
        """Return the mapping; the gate has read it before any other step."""
        if self.mapping is None:
            raise NotConnectedError(
                problem="The gate was not passed.", remedy="Start the sync flow as a whole."
            )
        return self.mapping


_OPEN: dict[str, Workspace] = {}


def open_workspace(space: Workspace) -> Workspace:
    """Register the working memory of a run."""
    _OPEN[space.run_id] = space
    return space


def workspace(run_id: str) -> Workspace:
    """Return the working memory of a run of this process.

    Raises:
        NotConnectedError: When the run is not of this process: steps cannot be spread over machines.
    """
    try:
        return _OPEN[run_id]
    except KeyError:
        raise NotConnectedError(
            problem=f"Run {run_id} has no working memory in this process.",
            remedy="Start the sync flow as a whole; its steps cannot run alone.",
        ) from None


def close_workspace(run_id: str) -> None:
    """Forget a run's rows, give back its lease and close its connections."""
    space = _OPEN.pop(run_id, None)
    if space is not None:
        space.release()
