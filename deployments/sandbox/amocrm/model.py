"""What an amoCRM account holds, as plain records."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Json = dict[str, Any]
Kind = Literal["contacts", "leads"]
KINDS: tuple[Kind, ...] = ("contacts", "leads")

WON = 142
LOST = 143
UNSORTED_TYPE = 1
SELECT_TYPES = frozenset({"select", "radiobutton", "multiselect"})
DATE_TYPES = frozenset({"date", "birthday"})


@dataclass(slots=True)
class EnumOption:
    """One choice of a select field, or one kind of phone or e-mail."""

    id: int
    value: str
    sort: int
    code: str | None = None


@dataclass(slots=True)
class CustomField:
    """A custom field definition; `enums` is None for types that have no choices."""

    id: int
    name: str
    type: str
    code: str | None
    sort: int
    is_api_only: bool = False
    is_predefined: bool = False
    group_id: str | None = None
    enums: dict[int, EnumOption] | None = None
    extra: Json = field(default_factory=dict)

    def enum_by_value(self, value: str) -> EnumOption | None:
        """Find a choice by its text."""
        return next((option for option in (self.enums or {}).values() if option.value == value), None)

    def enum_by_code(self, code: str) -> EnumOption | None:
        """Find a choice by its code; phones and e-mails carry the code in the text too."""
        options = (self.enums or {}).values()
        return next((option for option in options if code in (option.code, option.value)), None)


@dataclass(slots=True)
class Status:
    """A stage of a pipeline. 142 and 143 repeat in every pipeline, all other ids are unique."""

    id: int
    name: str
    sort: int
    color: str
    pipeline_id: int
    type: int = 0
    is_editable: bool = True


@dataclass(slots=True)
class Pipeline:
    """A pipeline with its stages in board order."""

    id: int
    name: str
    sort: int
    is_main: bool = False
    is_unsorted_on: bool = True
    is_archive: bool = False
    statuses: list[Status] = field(default_factory=list)

    def status(self, status_id: int) -> Status | None:
        """Find a stage of this pipeline."""
        return next((status for status in self.statuses if status.id == status_id), None)

    def first_open(self) -> Status:
        """Return the stage a lead lands in when only the pipeline is named."""
        ordered = sorted(self.statuses, key=lambda status: status.sort)
        return next(status for status in ordered if status.type != UNSORTED_TYPE)


@dataclass(slots=True)
class User:
    """A user of the account."""

    id: int
    name: str
    email: str
    is_admin: bool = False
    is_active: bool = True


@dataclass(slots=True)
class Record:
    """A contact or a lead. `links` maps the other side's id to is_main."""

    id: int
    kind: Kind
    created_at: int
    updated_at: int
    responsible_user_id: int
    created_by: int
    updated_by: int
    name: str = ""
    first_name: str = ""
    last_name: str = ""
    price: int = 0
    pipeline_id: int = 0
    status_id: int = 0
    closed_at: int | None = None
    is_deleted: bool = False
    values: dict[int, list[Json]] = field(default_factory=dict)
    tags: dict[int, str] = field(default_factory=dict)
    links: dict[int, bool] = field(default_factory=dict)


@dataclass(slots=True)
class Note:
    """A note in a card's feed."""

    id: int
    kind: Kind
    entity_id: int
    note_type: str
    params: Json
    created_at: int
    created_by: int


@dataclass(slots=True)
class TagRef:
    """A tag named by id or by name, never both."""

    id: int | None
    name: str | None


@dataclass(slots=True)
class Change:
    """One validated item of a write: everything in it may be applied as it stands."""

    request_id: str | None
    record_id: int | None = None
    attributes: Json = field(default_factory=dict)
    values: dict[int, list[Json] | None] = field(default_factory=dict)
    tags: list[TagRef] | None = None
    tags_to_add: list[TagRef] = field(default_factory=list)
    tags_to_delete: list[TagRef] = field(default_factory=list)
    contacts: list[tuple[int, bool]] = field(default_factory=list)
