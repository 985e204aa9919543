"""The mapping of one amoCRM account, as it is stored in the ledger."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["FieldRule", "Mapping", "NullPolicy", "PipelineRule", "Policy", "StageKey"]


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
