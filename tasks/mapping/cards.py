"""What to send for one card: the policies, without a connection."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tasks.mapping.model import FieldRule, NullPolicy, Policy
from tasks.mapping.model import Mapping as CardMapping
from tasks.mapping.values import digits, from_amo, number, price, to_amo
from tasks.records import RemoteContact, RemoteLead

__all__ = ["CLEARED", "CardChange", "contact_payload", "filled", "lead_payload"]

#: What a card is called that was cleared on request: amoCRM shows one without a name under its own number.
CLEARED: Final = "Данные удалены"

Texts = Mapping[str, str | None]
Sent = Callable[[str, str], bool]
Remote = RemoteContact | RemoteLead


@dataclass(slots=True)
class CardChange:
    """What was decided for one card.

    Attributes:
        payload: Body of the entity without ``id`` and ``request_id``.
        written: Data that are sent.
        yielded: Data left as they are because a person edited them.
        overwritten: Data whose hand-made value is replaced.
    """

    payload: dict[str, Any] = field(default_factory=dict)
    written: tuple[str, ...] = ()
    yielded: tuple[str, ...] = ()
    overwritten: tuple[str, ...] = ()

    def write(self, rule: FieldRule, text: str | None, timezone: str) -> None:
        """Put one datum into the payload."""
        if rule.builtin == "price":
            self.payload["price"] = price(text or "0")
        elif rule.builtin is not None:
            self.payload[rule.builtin] = text or ""
        elif rule.field_id is not None:
            self.put(rule.field_id, to_amo(rule, text, timezone))
        self.written += (rule.datum,)

    def put(self, field_id: int, values: Sequence[Mapping[str, Any]] | None) -> None:
        """Put a custom field into the payload; ``None`` clears it."""
        items = self.payload.setdefault("custom_fields_values", [])
        items.append({"field_id": field_id, "values": None if values is None else list(values)})


def contact_payload(
    mapping: CardMapping,
    texts: Texts,
    *,
    external_id: str,
    create: bool,
    changed: Collection[str],
    remote: RemoteContact | None,
    sent: Sent,
) -> CardChange:
    """Decide what to send for a contact.

    Args:
        mapping: The account's mapping.
        texts: Canonical text of every datum.
        external_id: Mark of the patient.
        create: Whether the contact is new.
        changed: Data whose IDENT value differs from what was last sent.
        remote: The contact as amoCRM has it, for an update.
        sent: Tells whether a text is what we last sent for a datum.

    Returns:
        The decision; an empty payload means that nothing is to be written.
    """
    change = _card(mapping, mapping.contact, texts, create=create, changed=changed, remote=remote, sent=sent)
    _multitexts(change, mapping, texts, create=create, changed=changed, remote=remote, sent=sent)
    _mark(change, mapping.contact_external_field, external_id, mapping.contact_tag, remote)
    if remote is None and mapping.responsible_user_id is not None:
        change.payload["responsible_user_id"] = mapping.responsible_user_id
    return change


def lead_payload(
    mapping: CardMapping,
    texts: Texts,
    *,
    external_id: str,
    create: bool,
    changed: Collection[str],
    remote: RemoteLead | None,
    sent: Sent,
) -> CardChange:
    """Decide what to send for a deal, without its stage and its links; arguments as for a contact."""
    change = _card(mapping, mapping.lead, texts, create=create, changed=changed, remote=remote, sent=sent)
    _mark(change, mapping.lead_external_field, external_id, mapping.lead_tag, remote)
    responsible = _responsible(mapping, texts)
    if remote is None and responsible is not None:
        change.payload["responsible_user_id"] = responsible
    return change


def _card(
    mapping: CardMapping,
    rules: Sequence[FieldRule],
    texts: Texts,
    *,
    create: bool,
    changed: Collection[str],
    remote: Remote | None,
    sent: Sent,
) -> CardChange:
    change = CardChange()
    zone = mapping.account_timezone
    for rule in rules:
        if rule.field_type == "multitext" or rule.policy is Policy.NEVER:
            continue
        text = texts[rule.datum]
        if create or remote is None:
            if text is not None:
                change.write(rule, text, zone)
        elif rule.datum in changed:
            _update(change, rule, text, _current(rule, remote, zone), sent, zone)
    return change


def _update(
    change: CardChange, rule: FieldRule, text: str | None, current: str | None, sent: Sent, zone: str
) -> None:
    if text == current or (text is None and rule.null_policy is NullPolicy.KEEP):
        return
    if rule.builtin == "price" and text is not None and current == number(str(price(text)), money=True):
        return
    if rule.policy is Policy.CREATE_ONLY or (rule.policy is Policy.FILL_EMPTY and current is not None):
        return
    if current is not None and not sent(rule.datum, current):
        if rule.policy is Policy.OVERWRITE_UNLESS_EDITED:
            change.yielded += (rule.datum,)
            return
        change.overwritten += (rule.datum,)
    change.write(rule, text, zone)


def _current(rule: FieldRule, remote: Remote, zone: str) -> str | None:
    """Return what amoCRM holds for a datum, as canonical text."""
    if rule.builtin == "price":
        return number(str(remote.price), money=True) if isinstance(remote, RemoteLead) else None
    if rule.builtin is not None:
        text = str(getattr(remote, rule.builtin, "") or "").strip()
        return None if text in {"", CLEARED} else text
    return None if rule.field_id is None else from_amo(rule, remote.values.get(rule.field_id, ()), zone)


def filled(rules: Sequence[FieldRule], remote: Remote, zone: str) -> frozenset[str]:
    """Return the data for which amoCRM holds a value; phones and e-mails, which are lists, left out."""
    return frozenset(
        rule.datum
        for rule in rules
        if rule.field_type != "multitext" and _current(rule, remote, zone) is not None
    )


def _multitexts(
    change: CardChange,
    mapping: CardMapping,
    texts: Texts,
    *,
    create: bool,
    changed: Collection[str],
    remote: RemoteContact | None,
    sent: Sent,
) -> None:
    """Merge phones and e-mails: a field's list is replaced as a whole, so what people typed is sent along."""
    fields: dict[int, list[FieldRule]] = {}
    for rule in mapping.contact:
        if rule.field_type == "multitext" and rule.field_id is not None and rule.policy is not Policy.NEVER:
            fields.setdefault(rule.field_id, []).append(rule)
    for field_id, rules in fields.items():
        if create or remote is None:
            ours = _distinct([item for rule in rules for item in to_amo(rule, texts[rule.datum], "") or []])
            if ours:
                change.put(field_id, ours)
        elif any(rule.datum in changed for rule in rules):
            before = [_plain(item) for item in remote.values.get(field_id, ())]
            after = _merged(before, rules, texts, changed, sent)
            if [_key(item) for item in after] != [_key(item) for item in before]:
                change.put(field_id, after or None)
                change.written += tuple(rule.datum for rule in rules if rule.datum in changed)


def _merged(
    before: list[dict[str, Any]],
    rules: Sequence[FieldRule],
    texts: Texts,
    changed: Collection[str],
    sent: Sent,
) -> list[dict[str, Any]]:
    """Replace the values that we wrote; keep all others, in their order and with their kind."""
    replaceable = [
        rule.datum
        for rule in rules
        if rule.datum in changed
        and not (texts[rule.datum] is None and rule.null_policy is NullPolicy.KEEP)
        and rule.policy in {Policy.OVERWRITE, Policy.OVERWRITE_UNLESS_EDITED}
    ]
    kept = [item for item in before if not any(sent(datum, str(item["value"])) for datum in replaceable)]
    # The same number may stand in both data: what was removed for one is put back for the other.
    present = {_key(item) for item in before}
    ours = [
        item
        for rule in rules
        for item in to_amo(rule, texts[rule.datum], "") or []
        if (rule.datum in replaceable or _key(item) in present)
        or (rule.datum in changed and rule.policy is Policy.FILL_EMPTY and not before)
    ]
    return _distinct([*kept, *ours])


def _distinct(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    chosen: dict[str, dict[str, Any]] = {}
    for item in items:
        chosen.setdefault(_key(item), dict(item))
    return list(chosen.values())


def _key(item: Mapping[str, Any]) -> str:
    text = str(item["value"]).strip()
    return text.casefold() if "@" in text else digits(text) or text


def _plain(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return a value as it may be sent: what amoCRM adds when read is not accepted back."""
    kept: dict[str, Any] = {"value": item.get("value", "")}
    if item.get("enum_id") is not None:
        kept["enum_id"] = item["enum_id"]
    elif item.get("enum_code"):
        kept["enum_code"] = item["enum_code"]
    return kept


def _responsible(mapping: CardMapping, texts: Texts) -> int | None:
    """Return who is responsible for a new deal: by its doctor or branch, else whoever is for all."""
    fitting = (rule.user_id for rule in mapping.responsible if texts.get(rule.datum) == rule.value)
    return next(fitting, mapping.responsible_user_id)


def _mark(change: CardChange, field_id: int, external_id: str, tag: str, remote: Remote | None) -> None:
    """Put external id and tag on a card that does not carry our mark yet."""
    if remote is not None and any(
        str(item.get("value")) == external_id for item in remote.values.get(field_id, ())
    ):
        return
    change.put(field_id, [{"value": external_id}])
    if remote is None or tag not in remote.tags:
        change.payload["tags_to_add"] = [{"name": tag}]
