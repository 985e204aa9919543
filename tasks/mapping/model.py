"""The mapping of one amoCRM account, as it is stored in the ledger.

What was stored by an earlier version still loads: whatever came later has a default. What is not known is
refused: a misspelt key would silently be a rule that nobody follows.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from tasks.frames import Status

__all__ = [
    "DEAL_NAME",
    "DEAL_NAME_PARTS",
    "ClinicOverride",
    "FieldRule",
    "Filters",
    "Mapping",
    "NullPolicy",
    "PipelineRule",
    "Policy",
    "ResponsibleRule",
    "StageKey",
]

#: Name of a deal; a part between separators is left out when all that it names is empty.
DEAL_NAME: Final = "Приём {start} · {doctor}"
#: What a deal's name may be made of: no patient's name, so that a rename moves no deal.
DEAL_NAME_PARTS: Final = ("start", "date", "time", "doctor", "speciality", "cabinet", "branch", "kind")


class Policy(StrEnum):
    """What to do when the value in IDENT changed and amoCRM's is not what we last sent."""

    OVERWRITE = "overwrite"  # IDENT wins; the replaced value is counted
    OVERWRITE_UNLESS_EDITED = "overwrite_unless_edited"  # the person wins
    FILL_EMPTY = "fill_empty"  # only where amoCRM has nothing
    CREATE_ONLY = "create_only"  # only when we create the card
    NEVER = "never"  # «Не передавать»


class NullPolicy(StrEnum):
    """What to do when the value vanished from IDENT."""

    KEEP = "keep"
    CLEAR = "clear"


class StageKey(StrEnum):
    """Where an appointment stands, in the terms a pipeline stage is chosen by."""

    PLANNED = "planned"
    RESCHEDULED = "rescheduled"
    ARRIVED = "arrived"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    BILL_ISSUED = "bill_issued"
    CANCELLED = "cancelled"
    NO_SHOW = "no_show"
    GONE = "gone"


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FieldRule(_Stored):
    """One datum and the amoCRM field it goes to.

    Attributes:
        datum: A name of ``CONTACT_DATA`` or ``LEAD_DATA``.
        builtin: An attribute of the card itself, where it is not a custom field.
        field_id: The custom field.
        field_type: amoCRM's type of it.
        field_name: Its name when the mapping was made; shown in messages.
        policy: Who wins.
        null_policy: Whether an emptied value empties the field.
        enums: Option id by text, for selects.
        enum_code: Kind of phone or e-mail, such as ``MOB``.
    """

    datum: str
    builtin: Literal["first_name", "last_name", "name", "price"] | None = None
    field_id: int | None = None
    field_type: str = "text"
    field_name: str = ""
    policy: Policy = Policy.OVERWRITE
    null_policy: NullPolicy = NullPolicy.CLEAR
    enums: dict[str, int] = Field(default_factory=dict)
    enum_code: str | None = None


class PipelineRule(_Stored):
    """One of the two pipelines.

    Attributes:
        pipeline_id: amoCRM's pipeline.
        stages: Stage by key; ``None`` leaves a deal where it stands.
        exceptions: Stages in which a deal gets data only, never a move.
    """

    pipeline_id: int
    stages: dict[StageKey, int | None]
    exceptions: list[int] = Field(default_factory=list)


class Filters(_Stored):
    """Which appointments get a deal; what has one already is kept up to date whatever the filters say.

    Attributes:
        branches: Only these branches, by their name in IDENT; empty means all.
        doctors: Only these doctors; empty means all.
        statuses: Only appointments in these states; empty means all.
        days_back: No new deals for appointments longer ago; ``None`` sets no limit.
        days_ahead: No new deals for appointments further ahead; they come when their day is near enough.
    """

    branches: list[str] = Field(default_factory=list)
    doctors: list[str] = Field(default_factory=list)
    statuses: list[Status] = Field(default_factory=list)
    days_back: int | None = Field(default=None, ge=0)
    days_ahead: int | None = Field(default=None, ge=0)

    @property
    def is_open(self) -> bool:
        """Tell whether everything passes."""
        return self == Filters()


class ResponsibleRule(_Stored):
    """Who is responsible for a new deal of one doctor or one branch; the first rule that fits decides.

    Attributes:
        datum: What is looked at.
        value: Its text in IDENT.
        user_id: amoCRM's user.
    """

    datum: Literal["doctor", "branch"]
    value: str
    user_id: int


class ClinicOverride(_Stored):
    """What one clinic does otherwise; ``None`` and an absent datum follow the account's mapping.

    Attributes:
        primary: «Первичный приём» of this clinic.
        repeat: «Повторный приём» of this clinic.
        contact: Rules of the contact card that replace the account's, by datum.
        lead: Rules of the deal card that replace the account's, by datum.
        filters: Which appointments get a deal.
        deal_name: Name of a deal.
        responsible_user_id: Who is responsible for new cards.
        responsible: Who is responsible for new deals, by doctor or branch.
    """

    primary: PipelineRule | None = None
    repeat: PipelineRule | None = None
    contact: list[FieldRule] = Field(default_factory=list)
    lead: list[FieldRule] = Field(default_factory=list)
    filters: Filters | None = None
    deal_name: str | None = None
    responsible_user_id: int | None = None
    responsible: list[ResponsibleRule] | None = None


class Mapping(_Stored):
    """The whole mapping.

    Attributes:
        account_id: The account it was made for.
        account_timezone: IANA zone of the account; its date fields are midnights there.
        contact: Rules of the contact card.
        lead: Rules of the deal card.
        primary: «Первичный приём».
        repeat: «Повторный приём».
        contact_external_field: Field that holds ``IDENT-<uid>-P-<id>``.
        lead_external_field: Field that holds ``IDENT-<uid>-A-<id>``.
        contact_tag: Tag of contacts that we create or adopt.
        lead_tag: Tag of deals that we create or adopt.
        gone_tag: Tag of a card whose source was deleted in IDENT.
        responsible_user_id: Who is responsible for new cards; ``None`` leaves it to amoCRM.
        responsible: Who is responsible for new deals, by doctor or branch; before the user above.
        deal_name: Name of a deal, made of ``DEAL_NAME_PARTS``.
        filters: Which appointments get a deal.
        clinics: What single clinics do otherwise, by the clinic's uid.
    """

    account_id: int
    account_timezone: str
    contact: list[FieldRule]
    lead: list[FieldRule]
    primary: PipelineRule
    repeat: PipelineRule
    contact_external_field: int
    lead_external_field: int
    contact_tag: str = "IDENT"
    lead_tag: str = "IDENT"
    gone_tag: str = "Удалено в IDENT"
    responsible_user_id: int | None = None
    responsible: list[ResponsibleRule] = Field(default_factory=list)
    deal_name: str = DEAL_NAME
    filters: Filters = Filters()
    clinics: dict[str, ClinicOverride] = Field(default_factory=dict)

    def for_clinic(self, clinic_uid: str) -> Mapping:
        """Return the mapping that one clinic follows: the account's, with the clinic's own choices in it."""
        own = self.clinics.get(clinic_uid)
        if own is None:
            return self
        chosen = {
            "primary": own.primary,
            "repeat": own.repeat,
            "filters": own.filters,
            "deal_name": own.deal_name,
            "responsible_user_id": own.responsible_user_id,
            "responsible": own.responsible,
        }
        update: dict[str, object] = {name: value for name, value in chosen.items() if value is not None}
        update["contact"] = _replaced(self.contact, own.contact)
        update["lead"] = _replaced(self.lead, own.lead)
        return self.model_copy(update=update)


def _replaced(rules: list[FieldRule], own: list[FieldRule]) -> list[FieldRule]:
    by_datum = {rule.datum: rule for rule in own}
    known = [by_datum.pop(rule.datum, rule) for rule in rules]
    return [*known, *by_datum.values()]
