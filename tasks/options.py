"""Options of list fields: doctors, sources and branches are added to them as they come."""

from __future__ import annotations

import threading

from tasks.amocrm.custom_fields import add_options
from tasks.mapping.catalogue import OPEN_DATA
from tasks.mapping.model import FieldRule
from tasks.mapping.values import parts
from tasks.records import Kind
from tasks.workspace import Workspace

__all__ = ["Options"]

ENTITIES = {Kind.CONTACT: "contacts", Kind.LEAD: "leads"}
ENUM_TYPES = frozenset({"select", "multiselect", "radiobutton"})


class Options:
    """Adds what a list field lacks before a card names it; amoCRM refuses a card with an unknown option.

    The first card that needs one adds all that this run needs: a clinic has thousands of cards and thirty
    doctors.
    """

    def __init__(self, space: Workspace) -> None:
        self._space = space
        self._lock = threading.Lock()

    def __call__(self, kind: Kind, rule: FieldRule, text: str) -> None:
        """See to it that the options of a text exist."""
        if rule.field_id is None or rule.field_type not in ENUM_TYPES or rule.datum not in OPEN_DATA:
            return
        with self._lock:
            if all(part in rule.enums for part in parts(rule, text)):
                return
            table = self._space.cards[kind]
            texts = {table.texts(int(key))[rule.datum] for key in table.hashes.index} | {text}
            wanted = sorted({part for one in texts if one for part in parts(rule, one)} - rule.enums.keys())
            self._space.guard()
            field = add_options(self._space.client, ENTITIES[kind], rule.field_id, wanted)
            # The rule of this run's mapping; what is stored knows no options of such data.
            rule.enums.update({enum.value: enum.id for enum in field.enums})
