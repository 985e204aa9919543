"""What clears a person's card: the fields that are ours, and never what a manager typed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from tasks.mapping.cards import CLEARED, CardChange, contact_payload, lead_payload
from tasks.mapping.model import FieldRule, NullPolicy, Policy
from tasks.mapping.model import Mapping as CardMapping
from tasks.records import CustomField, RemoteContact, RemoteLead

__all__ = ["CLEARED", "Eraser"]

#: How the codes of the fields begin that autoconfiguration made.
OURS: Final = "IDENT_"
#: How our marks begin.
MARK: Final = "IDENT-"
NAMES: Final = ("last_name", "first_name")

Sent = Callable[[str, str], bool]


@dataclass(frozen=True, slots=True)
class Eraser:
    """The account's mapping, turned into what clears its cards.

    Attributes:
        mapping: The mapping.
        contact_fields: All fields of contacts.
        lead_fields: All fields of deals.
        former: What the mapping was before: a field that it names no more may still hold what we sent.
    """

    mapping: CardMapping
    contact_fields: Sequence[CustomField]
    lead_fields: Sequence[CustomField]
    former: Sequence[CardMapping] = ()

    def contact(self, remote: RemoteContact, sent: Sent) -> CardChange:
        """Return what clears a contact.

        Args:
            remote: The contact as amoCRM has it.
            sent: Tells whether a text is what we last sent for a datum.
        """
        rules = _rules([rule for one in self._all for rule in one.contact], self.contact_fields)
        own = self.mapping.model_copy(update={"contact": rules})
        change = contact_payload(
            own,
            dict.fromkeys((rule.datum for rule in rules), None),
            external_id="",
            create=False,
            changed=[rule.datum for rule in rules],
            remote=remote,
            sent=sent,
        )
        kept = {name for name in NAMES if getattr(remote, name) and name not in change.payload}
        if not kept and change.payload.keys() & set(NAMES):
            change.payload |= {"first_name": CLEARED, "last_name": ""}
        change.yielded += _left_numbers(change, rules, remote)
        marks = _marks(remote, (one.contact_external_field for one in self._all))
        return self._unmarked(change, remote, marks | _ours(self.contact_fields))

    def lead(self, remote: RemoteLead, sent: Sent) -> CardChange:
        """Return what clears a deal; arguments as for a contact."""
        rules = _rules([rule for one in self._all for rule in one.lead], self.lead_fields)
        own = self.mapping.model_copy(update={"lead": rules})
        change = lead_payload(
            own,
            dict.fromkeys((rule.datum for rule in rules), None),
            external_id="",
            create=False,
            changed=[rule.datum for rule in rules if rule.builtin != "price" or remote.price],
            remote=remote,
            sent=sent,
        )
        if "name" in change.payload:
            change.payload["name"] = CLEARED
        marks = _marks(remote, (one.lead_external_field for one in self._all))
        return self._unmarked(change, remote, marks | _ours(self.lead_fields))

    @property
    def _all(self) -> tuple[CardMapping, ...]:
        return (self.mapping, *self.former)

    def _unmarked(
        self, change: CardChange, remote: RemoteContact | RemoteLead, ours: Collection[int]
    ) -> CardChange:
        """Take off mark and tags, and empty our own fields, also those that the mapping names no more."""
        change.payload.pop("tags_to_add", None)
        written = change.payload.pop("custom_fields_values", [])
        items = {item["field_id"]: item for item in written if item["field_id"] not in ours}
        items |= {key: {"field_id": key, "values": None} for key in sorted(ours) if remote.values.get(key)}
        if items:
            change.payload["custom_fields_values"] = list(items.values())
        # amoCRM keeps the spelling of a tag that the account had before ours.
        own = {tag.casefold() for one in self._all for tag in (one.contact_tag, one.lead_tag, one.gone_tag)}
        tags = {tag for tag in remote.tags if tag.casefold() in own}
        if tags:
            change.payload["tags_to_delete"] = [{"name": tag} for tag in sorted(tags)]
        return change


def _rules(rules: Sequence[FieldRule], fields: Sequence[CustomField]) -> list[FieldRule]:
    """Return rules under which our own fields are emptied, and others where they hold what we sent."""
    ours = _ours(fields)
    each = {
        (rule.datum, rule.builtin, rule.field_id): rule
        for rule in reversed(rules)
        if rule.policy is not Policy.NEVER
    }
    return [
        rule.model_copy(
            update={
                "null_policy": NullPolicy.CLEAR,
                "policy": Policy.OVERWRITE if rule.field_id in ours else Policy.OVERWRITE_UNLESS_EDITED,
            }
        )
        for rule in each.values()
    ]


def _marks(remote: RemoteContact | RemoteLead, fields: Iterable[int]) -> set[int]:
    """Return the fields that hold a mark of ours; one that was chosen by mistake once may hold anything."""
    return {
        field
        for field in fields
        if any(str(item.get("value")).startswith(MARK) for item in remote.values.get(field, ()))
    }


def _ours(fields: Sequence[CustomField]) -> set[int]:
    return {field.id for field in fields if (field.code or "").startswith(OURS)}


def _left_numbers(change: CardChange, rules: Sequence[FieldRule], remote: RemoteContact) -> tuple[str, ...]:
    """Return phones and e-mails, by datum, of which some stay because we did not send them."""
    after = {item["field_id"]: item["values"] for item in change.payload.get("custom_fields_values", ())}
    return tuple(
        rule.datum
        for rule in rules
        if rule.field_type == "multitext"
        and rule.field_id is not None
        and after.get(rule.field_id, remote.values.get(rule.field_id, ()))
    )
