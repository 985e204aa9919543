"""Settings of the installation: where its state lies and how hard it may work.

Everything has a default; ``IDENT_AMOCRM_<NAME>`` in the environment overrides it. Secrets are never settings:
passwords and tokens live in Prefect blocks (``tasks.blocks``), the installation's key in a file of its own.
"""

from __future__ import annotations

import os
import secrets
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import platformdirs
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["Settings", "load_settings", "program_version"]

KEY_BYTES = 32


class Settings(BaseSettings):
    """Settings of this installation, read from the environment."""

    model_config = SettingsConfigDict(env_prefix="IDENT_AMOCRM_", extra="ignore", frozen=True)

    home: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("ident-amocrm", appauthor=False)),
        description="Folder of the installation's state: ledger, key, Prefect's own files.",
    )
    state_url: str = Field(
        default="",
        description="SQLAlchemy URL of the ledger; empty means a SQLite file in the home folder.",
    )
    requests_per_second: float = Field(
        default=5.0,
        gt=0,
        le=7,
        description="Pace towards amoCRM, for all clinics of one integration together (its limit is 7).",
    )
    batch_size: int = Field(
        default=50, ge=1, le=250, description="Entities in one writing request to amoCRM (50 is advised)."
    )
    read_page_size: int = Field(
        default=250, ge=1, le=250, description="Entities in one page read from amoCRM."
    )
    workers: int = Field(default=4, ge=1, le=16, description="Requests to amoCRM under way at once.")
    connect_timeout: float = Field(default=5.0, gt=0, description="Seconds to reach amoCRM.")
    read_timeout: float = Field(default=60.0, gt=0, description="Seconds to wait for amoCRM's answer.")
    retry_seconds: float = Field(
        default=120.0,
        ge=0,
        description="How long a repeatable request may be repeated before the run gives up.",
    )
    database_page_size: int = Field(
        default=2000, ge=1, le=2000, description="Rows in one page read from IDENT."
    )
    database_login_timeout: int = Field(default=10, ge=1, description="Seconds to log in to the database.")
    database_query_timeout: int = Field(default=60, ge=1, description="Seconds one query may take.")
    database_lock_timeout: int = Field(
        default=5000, ge=0, description="Milliseconds to wait for a lock held by IDENT before giving way."
    )
    tick_seconds: int = Field(
        default=30,
        ge=10,
        description="Seconds between two runs of a clinic's transfer; more for many clinics.",
    )
    overlap_minutes: int = Field(
        default=15, ge=1, description="How far each tick reads back before the last one."
    )
    full_read_hour: int = Field(
        default=3,
        ge=0,
        le=23,
        description="Clinic-local hour after which the first tick re-reads everything.",
    )
    lease_seconds: int = Field(
        default=120, ge=10, description="How long a run owns its clinic without renewal."
    )
    shrink_limit: float = Field(
        default=0.2, gt=0, le=1, description="Share of known rows whose absence stops a run."
    )
    no_show_reason_ids: str = Field(
        default="",
        pattern=r"^\s*(\d+\s*(,\s*\d+\s*)*)?$",
        description="Ids of cancel reasons in IDENT that mean «не пришёл», besides the built-in rule.",
    )
    past_move_days: int = Field(
        default=7, ge=1, description="After how many days an appointment's deal counts as long over."
    )
    past_move_limit: int = Field(
        default=50,
        ge=0,
        description="Deals long over that may change their stage in a day; more wait for a person's word.",
    )
    subscription: bool = Field(
        default=True, description="Whether the transfer needs a subscription; off for one's own clinic."
    )
    trial_days: int = Field(
        default=14, ge=0, description="Days of the free trial, from the first connection on."
    )
    confirm_deals: int = Field(
        default=100,
        ge=0,
        description="Deals entering open stages above which a first load waits for a person's confirmation.",
    )
    failing_runs: int = Field(
        default=5, ge=1, description="Runs that fail one after another before somebody is notified."
    )
    reject_share: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Share of a clinic's cards newly kept back within an hour that somebody is notified of.",
    )
    notify: str = Field(
        default="",
        description="Notification block of Prefect, type/name, that is told of every clinic's troubles.",
    )
    alert_file: Path | None = Field(
        default=None,
        description="File that holds the address of a webhook: told when Prefect itself is down.",
    )
    support_contact: str = Field(
        default="не указаны (IDENT_AMOCRM_SUPPORT_CONTACT)",
        description="Whom an operator asks for help; shown in the health check.",
    )
    documentation_url: str = Field(
        default="", description="Where this documentation is published; links of the health check lead there."
    )
    sales_contact: str = Field(
        default="не указаны (IDENT_AMOCRM_SALES_CONTACT)",
        description="Whom an operator asks for an invoice; shown on it.",
    )
    data_docs_port: int = Field(
        default=4280,
        ge=0,
        le=65535,
        description="Port of the pages of data quality that up serves; the next free one if taken; 0: none.",
    )
    data_docs_url: str = Field(
        default="",
        description="Where the pages of data quality are reached; links of the runs lead there.",
    )
    data_docs_runs: int = Field(
        default=200, ge=1, description="Runs of each clinic whose pages of data quality are kept."
    )
    data_docs_days: int = Field(
        default=30, ge=1, description="Days for which pages of data quality and the trend of it are kept."
    )
    https_proxy: str = Field(default="", description="Proxy towards amoCRM; empty: the HTTPS_PROXY variable.")
    ca_bundle: Path | None = Field(default=None, description="File of trusted certificates (own CA).")
    verify_tls: bool = Field(
        default=True, description="Check amoCRM's certificate. Never switch off in earnest."
    )

    @property
    def ledger_url(self) -> str:
        """SQLAlchemy URL of the ledger."""
        return self.state_url or f"sqlite:///{self.home / 'ledger.db'}"

    @property
    def no_show_reasons(self) -> frozenset[int]:
        """Ids of cancel reasons that mean that the patient did not come."""
        return frozenset(int(part) for part in self.no_show_reason_ids.split(",") if part.strip())

    @property
    def data_docs(self) -> Path:
        """Folder of the Data Docs: results, and the pages made of them."""
        return self.home / "data-docs"

    @property
    def data_docs_pages(self) -> Path:
        """Folder of the pages, which may be served."""
        return self.data_docs / "pages"

    @property
    def data_docs_address(self) -> str:
        """Where the pages are reached, as far as is known."""
        return (self.data_docs_url or f"http://127.0.0.1:{self.data_docs_port}").rstrip("/")

    def prepare_home(self) -> Path:
        """Create the home folder, readable by its owner only, and return it."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.home

    def installation_key(self) -> bytes:
        """Return the installation's secret key; the first call creates it.

        Hashes of patients' data are keyed with it, so that a stolen ledger does not give away a phone to
        whoever tries all phones. It is written beside the ledger with mode 0600 and never leaves the machine.
        """
        path = self.prepare_home() / "installation.key"
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return bytes.fromhex(path.read_text(encoding="ascii").strip())
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        return bytes.fromhex(path.read_text(encoding="ascii").strip())


@cache
def load_settings() -> Settings:
    """Return the settings of this process, read once."""
    return Settings()


def program_version() -> str:
    """Return the version of ident-amocrm that is installed here; ``unknown`` where it merely lies about."""
    try:
        return version("ident-amocrm")
    except PackageNotFoundError:
        return "unknown"
