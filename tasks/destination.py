"""amoCRM and the mapping in the shape that ``tasks.loading`` asks for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.amocrm import contacts, leads, links, notes
from tasks.amocrm.client import AmoClient
from tasks.loading.ports import Place, Remote
from tasks.mapping import cards, stages, values
from tasks.mapping.model import FieldRule, StageKey
from tasks.mapping.model import Mapping as CardMapping
from tasks.planning.identity import first_text
from tasks.records import CustomField, Kind, Pipeline, RemoteContact, RemoteLead

__all__ = ["AmoDestination", "MappedCards"]

Payload = dict[str, Any]


@dataclass(frozen=True, slots=True)
class AmoDestination:
    """The destination of one account."""

    client: AmoClient

    def read(self, kind: Kind, ids: Collection[int]) -> Mapping[int, Remote]:
        """Read entities by id."""
        found: Mapping[int, Remote] = (
            contacts.read_contacts(self.client, ids)
            if kind is Kind.CONTACT
            else leads.read_leads(self.client, ids)
        )
        return {key: remote for key, remote in found.items() if not remote.is_deleted}

    def highest_id(self, kind: Kind) -> int:
        """Return the highest id there is."""
        highest = contacts.highest_contact_id if kind is Kind.CONTACT else leads.highest_lead_id
        return highest(self.client)

    def newest_down_to(self, kind: Kind, amo_id: int) -> Iterable[Remote]:
        """Read entities by descending id."""
        if kind is Kind.CONTACT:
            return contacts.latest_contacts_down_to(self.client, amo_id)
        return leads.latest_leads_down_to(self.client, amo_id)

    def search(self, kind: Kind, text: str) -> Iterable[Remote]:
        """Read what amoCRM's search finds for a text."""
        if kind is Kind.CONTACT:
            return contacts.search_contacts(self.client, text)
        return leads.search_leads(self.client, text)

    def trashed_above(self, kind: Kind, amo_id: int) -> Collection[int]:
        """Return ids above ``amo_id`` that stand in the trash."""
        if kind is Kind.CONTACT:
            return contacts.trashed_contacts_above(self.client, amo_id)
        return leads.trashed_leads_above(self.client, amo_id)

    def create(self, kind: Kind, payloads: Sequence[Payload]) -> Mapping[str, int]:
        """Create entities."""
        create = contacts.create_contacts if kind is Kind.CONTACT else leads.create_leads
        return create(self.client, payloads)

    def update(self, kind: Kind, payloads: Sequence[Payload]) -> Collection[int]:
        """Update entities."""
        update = contacts.update_contacts if kind is Kind.CONTACT else leads.update_leads
        return update(self.client, payloads)

    def link(self, lead_id: int, contact_id: int) -> bool:
        """Attach a contact to a deal."""
        return links.link_contacts(self.client, [(lead_id, contact_id, True)])

    def unlink(self, lead_id: int, contact_id: int) -> None:
        """Detach a contact from a deal."""
        links.unlink_contacts(self.client, [(lead_id, contact_id)])

    def notes(self, lead_id: int) -> Sequence[str]:
        """Return the texts of a deal's notes, oldest first."""
        return [text for _note_id, text in sorted(notes.read_notes(self.client, lead_id))]

    def numbered_notes(self, lead_id: int) -> Sequence[tuple[int, str]]:
        """Return ids and texts of a deal's notes."""
        return notes.read_notes(self.client, lead_id)

    def replace_note(self, lead_id: int, note_id: int, text: str) -> None:
        """Give a note another text."""
        notes.replace_note(self.client, lead_id, note_id, text)

    def add_note(self, lead_id: int, text: str) -> None:
        """Write a note."""
        notes.add_notes(self.client, [(lead_id, text)])


@dataclass(frozen=True, slots=True)
class MappedCards:
    """The mapping of one account, applied to one clinic's zone."""

    mapping: CardMapping
    pipelines: tuple[Pipeline, ...]
    contact_fields: tuple[CustomField, ...]
    clinic_zone: str
    #: Sees to it that the options of a list field exist; nothing where nothing is sent.
    options: Callable[[Kind, FieldRule, str], None] = lambda _kind, _rule, _text: None

    def change(
        self,
        kind: Kind,
        texts: Mapping[str, str | None],
        *,
        external_id: str,
        create: bool,
        changed: Collection[str],
        remote: Remote | None,
        sent: Callable[[str, str], bool],
    ) -> cards.CardChange:
        """Decide what to send for one card."""
        for rule in self.mapping.contact if kind is Kind.CONTACT else self.mapping.lead:
            text = texts.get(rule.datum)
            if text is not None and (create or rule.datum in changed):
                self.options(kind, rule, text)
        if kind is Kind.CONTACT:
            known = remote if isinstance(remote, RemoteContact) else None
            return cards.contact_payload(
                self.mapping,
                texts,
                external_id=external_id,
                create=create,
                changed=changed,
                remote=known,
                sent=sent,
            )
        deal = remote if isinstance(remote, RemoteLead) else None
        return cards.lead_payload(
            self.mapping,
            texts,
            external_id=external_id,
            create=create,
            changed=changed,
            remote=deal,
            sent=sent,
        )

    def place(self, *, is_primary: bool, stage_key: str) -> Place | None:
        """Return where a deal belongs."""
        return stages.target(self.mapping, is_primary, StageKey(stage_key))

    def may_move(
        self, *, current: Place | None, last_sent: Place | None, target: Place, stage_key: str
    ) -> bool:
        """Tell whether the transfer may move a deal."""
        return stages.may_move(self.pipelines, self.mapping, current, last_sent, target, StageKey(stage_key))

    def is_primary_place(self, pipeline_id: int) -> bool | None:
        """Tell which of the two pipelines this is."""
        if pipeline_id == self.mapping.primary.pipeline_id:
            return True
        return False if pipeline_id == self.mapping.repeat.pipeline_id else None

    def field_name(self, kind: Kind, payload: Mapping[str, Any], path: str) -> str:
        """Translate ``custom_fields_values.6.values.0.value`` into the field's name."""
        parts = path.split(".")
        if parts[0] != "custom_fields_values" or len(parts) < 2 or not parts[1].isdigit():
            return parts[0]
        values_sent = payload.get("custom_fields_values") or []
        index = int(parts[1])
        if index >= len(values_sent):
            return path
        item = values_sent[index]
        rules = self.mapping.contact if kind is Kind.CONTACT else self.mapping.lead
        names = {rule.field_id: rule.field_name for rule in rules if rule.field_id is not None}
        return names.get(item.get("field_id"), str(item.get("field_code") or item.get("field_id") or path))

    def external_ids(self, kind: Kind, remote: Remote) -> str:
        """Return the external id of an entity."""
        return first_text(remote.values, self.external_field(kind))

    def external_field(self, kind: Kind) -> int:
        """Return the field that holds the external id."""
        if kind is Kind.CONTACT:
            return self.mapping.contact_external_field
        return self.mapping.lead_external_field

    def reschedule_note(self, remote: RemoteLead, texts: Mapping[str, str | None], mark: str) -> str | None:
        """Return «Приём перенесён: было … стало …», ``None`` when the deal already has the new time."""
        rule = next((rule for rule in self.mapping.lead if rule.datum == "start_at"), None)
        new = texts.get("start_at")
        if rule is None or rule.field_id is None or new is None:
            return None
        old = values.from_amo(rule, remote.values.get(rule.field_id, ()), self.mapping.account_timezone)
        if old is None or old == new:
            return None
        was, now = (values.local_time(text, self.clinic_zone) for text in (old, new))
        return f"Приём перенесён: было {was}, стало {now}. [{mark}]"

    def gone_payload(self, kind: Kind, remote: Remote) -> Payload:  # noqa: ARG002 - one tag for both
        """Return the tag that says the card's source was deleted in IDENT."""
        tag = self.mapping.gone_tag
        return {} if tag in remote.tags else {"tags_to_add": [{"name": tag}]}
