"""The flexible configuration, block by block: its forms, what their answers make of the mapping."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from tasks.amocrm.client import AmoClient
from tasks.amocrm.custom_fields import add_options, create_custom_fields, read_custom_fields
from tasks.amocrm.pipelines import read_pipelines
from tasks.backfill import count_rows, mark_rows
from tasks.connections import amocrm_account, open_destination, open_ledger, open_source
from tasks.drift import live_drifts
from tasks.errors import IdentAmocrmError, MappingError
from tasks.flexible import read_live
from tasks.ledger.store import Ledger
from tasks.mapping import flexible_forms as forms
from tasks.mapping.autoconfigure import ENUM_TYPES, field_definition, missing_options, rule_of
from tasks.mapping.catalogue import CONTACT_CARD, LEAD_CARD, FieldDefault
from tasks.mapping.model import FieldRule, Policy
from tasks.mapping.model import Mapping as CardMapping
from tasks.mapping.overrides import with_choice
from tasks.mapping.questions import Form, Question
from tasks.mapping.rules import refuse_unsound
from tasks.mappings import load_mapping, save_mapping
from tasks.markdown import plain
from tasks.records import CustomField, Pipeline
from tasks.settings import Settings, load_settings

__all__ = [
    "BLOCKS",
    "STAGES",
    "accept_choice",
    "block_form",
    "other_stages_form",
    "resend_choice",
    "resend_form",
    "save_choice",
]

#: Name under which a run keeps what it saved.
SAVED: Final = "saved"


def _account_id(ledger: Ledger) -> int:
    return int(str(amocrm_account(ledger)["account_id"]))


#: Blocks as an operator picks them.
STAGES, EXCEPTIONS = "Воронки и этапы", "Исключения"
CONTACT, DEAL = "Карточка контакта", "Карточка сделки"
CONTACT_POLICIES, DEAL_POLICIES = "Правила записи: контакт", "Правила записи: сделка"
FILTERS, OWNERS = "Фильтры", "Название и ответственный"
BLOCKS = (STAGES, EXCEPTIONS, CONTACT, DEAL, CONTACT_POLICIES, DEAL_POLICIES, FILTERS, OWNERS)
CARDS = {CONTACT: "contact", DEAL: "lead"}
POLICIES = {CONTACT_POLICIES: "contact", DEAL_POLICIES: "lead"}


def block_form(block: str, clinic: str) -> Form:
    """Return the form of a block, from the live account and the mapping in force."""
    ledger, settings = open_ledger(), load_settings()
    chosen = load_mapping(ledger, _account_id(ledger)).for_clinic(_uid(ledger, clinic))
    client = open_destination(ledger, settings)
    try:
        live = read_live(client)
    finally:
        client.close()
    if block in CARDS:
        return forms.card_form(chosen, CARDS[block], live.fields(CARDS[block]))
    if block in POLICIES:
        return forms.policies_form(chosen, POLICIES[block])
    if block in {FILTERS, OWNERS}:
        names = _names(ledger, settings, clinic)
        if block == FILTERS:
            return forms.filters_form(chosen, names["branches"], names["doctors"])
        return forms.owners_form(chosen, live.users, names["branches"], names["doctors"])
    if block == EXCEPTIONS:
        return forms.exceptions_form(chosen, live.pipelines)
    return forms.stages_form(chosen, live.pipelines)


def other_stages_form(clinic: str, answer: Mapping[str, Any]) -> Form | None:
    """Return the form of the stages of newly chosen pipelines, ``None`` where none was newly chosen."""
    ledger, settings = open_ledger(), load_settings()
    client = open_destination(ledger, settings)
    try:
        pipelines = read_pipelines(client)
    finally:
        client.close()
    before = load_mapping(ledger, _account_id(ledger)).for_clinic(_uid(ledger, clinic))
    chosen, changed = forms.read_stages(before, answer, pipelines)
    return forms.stages_form(chosen, pipelines) if changed else None


def _names(ledger: Ledger, settings: Settings, clinic: str) -> dict[str, list[str]]:
    """Return the branches and doctors of the clinics; those of one that cannot be reached are left out."""
    found: dict[str, set[str]] = {"branches": set(), "doctors": set()}
    for record in ledger.connections():
        if clinic and record.name != clinic:
            continue
        try:
            _connection, reader = open_source(record, settings)
        except IdentAmocrmError:
            continue  # what is chosen already is offered all the same
        try:
            for what, names in reader.names().items():
                found[what].update(names)
        finally:
            reader.close()
    return {what: sorted(names) for what, names in found.items()}


def _uid(ledger: Ledger, clinic: str) -> str:
    return ledger.connection(clinic).clinic_uid if clinic else ""


def chosen_mapping(
    ledger: Ledger, client: AmoClient, block: str, clinic: str, answer: Mapping[str, Any], *, create: bool
) -> tuple[CardMapping, Sequence[Pipeline]]:
    """Return the mapping that the answers of a block describe.

    Args:
        ledger: The installation's ledger.
        client: The account.
        block: The block.
        clinic: Whose choice it is; empty for all clinics.
        answer: What the answers mean.
        create: Whether new fields are to be created; else they are only assumed.
    """
    mapping = load_mapping(ledger, _account_id(ledger))
    uid = _uid(ledger, clinic)
    before = mapping.for_clinic(uid)
    pipelines = read_pipelines(client)
    if block in CARDS:
        chosen = _card_choice(client, before, CARDS[block], answer, create=create)
    elif block in POLICIES:
        chosen = forms.read_policies(before, POLICIES[block], answer)
    elif block == FILTERS:
        chosen = forms.read_filters(before, answer)
    elif block == OWNERS:
        chosen = forms.read_owners(before, answer)
    elif block == EXCEPTIONS:
        chosen = forms.read_exceptions(before, answer)
    else:
        chosen, _changed = forms.read_stages(before, answer, pipelines)
    return with_choice(mapping, uid, chosen), pipelines


def _card_choice(
    client: AmoClient, mapping: CardMapping, card: str, answer: Mapping[str, Any], *, create: bool
) -> CardMapping:
    """Return the mapping with the chosen fields of a card; new ones are created, ours is never made twice."""
    entity = {"contact": "contacts", "lead": "leads"}[card]
    fields = {field.id: field for field in read_custom_fields(client, entity)}
    rules: list[FieldRule] = []
    known = {rule.datum: rule for rule in getattr(mapping, card)}
    for default in forms.CARDS[card]:
        if default.api_only:
            continue
        value, rule = answer.get(default.datum, forms.KEEP), known.get(default.datum)
        if value == forms.NEVER:
            never = rule or rule_of(default, None)
            rules.append(never.model_copy(update={"policy": Policy.NEVER}))
            continue
        if value == forms.KEEP:
            rules.append(_kept_rule(default, rule))
            continue
        found = _own_field(default, fields.values()) if value == forms.CREATE else fields.get(int(value))
        if value == forms.CREATE and found is None:
            if not create:
                rules.append(_assumed(default))
                continue
            codes = {field.code for field in fields.values()}
            definition = field_definition(default, default.name, codes)
            (found,) = create_custom_fields(client, entity, [definition])
            fields[found.id] = found
        if found is None:
            raise MappingError(
                problem=f"The field chosen for {default.datum} does not exist in amoCRM any more.",
                remedy="Start configure-mapping again.",
                code="choice_vanished",
            )
        rules.append(_field_rule(client, entity, default, found, rule, create=create))
    return mapping.model_copy(update={card: rules})


def _own_field(default: FieldDefault, fields: Iterable[CustomField]) -> CustomField | None:
    own = (field for field in fields if default.owns(field.code))
    return next((field for field in own if field.type == default.type), None)


def _kept_rule(default: FieldDefault, rule: FieldRule | None) -> FieldRule:
    """Return the rule as it was; a part of the card that was left out comes back with its usual policy."""
    if rule is None or (rule.policy is Policy.NEVER and default.builtin is not None):
        return rule_of(default, None)
    return rule


def _assumed(default: FieldDefault) -> FieldRule:
    # No field has this id: two data that get new fields do not share one.
    number = -1 - sorted(one.datum for one in (*CONTACT_CARD, *LEAD_CARD)).index(default.datum)
    return rule_of(default, CustomField(number, default.name, default.type))


def _field_rule(
    client: AmoClient,
    entity: str,
    default: FieldDefault,
    found: CustomField,
    rule: FieldRule | None,
    *,
    create: bool,
) -> FieldRule:
    """Return the rule of a chosen field; options that the datum needs and the field lacks are added."""
    lacking = missing_options(default, found) if found.type in ENUM_TYPES else []
    if lacking and create:
        found = add_options(client, entity, found.id, lacking)
    return rule_of(default, found, rule)


def accept_choice(block: str, clinic: str, answer: Mapping[str, Any]) -> None:
    """Check answers before they are acted on.

    Raises:
        MappingError: When they describe no sound mapping.
    """
    ledger = open_ledger()
    client = open_destination(ledger, load_settings())
    try:
        mapping, _pipelines = chosen_mapping(ledger, client, block, clinic, answer, create=False)
    finally:
        client.close()
    refuse_unsound(mapping)


@task(name="save", cache_policy=NO_CACHE, persist_result=False)
def save_choice(scope: str, block: str, clinic: str, answer: Mapping[str, Any], by: str) -> dict[str, Any]:
    """Save what was chosen and publish the difference; a run that starts again returns what it did then."""
    ledger, settings = open_ledger(), load_settings()
    stored = ledger.setting(scope, SAVED)
    if stored is not None:
        return stored
    client = open_destination(ledger, settings)
    try:
        mapping, pipelines = chosen_mapping(ledger, client, block, clinic, answer, create=True)
        saved = save_mapping(ledger, mapping, by, pipelines)
        problems_left = [str(drift) for drift in live_drifts(client, saved.mapping)]
    finally:
        client.close()
    rows = count_rows(ledger, settings, saved.redirected)
    result = {
        "changes": saved.changes,
        "redirected": {card: sorted(data) for card, data in saved.redirected.items()},
        "rows": rows,
    }
    ledger.put_setting(scope, SAVED, result, by=by)
    lines = [f"## Настройка сохранена: {block}", ""]
    lines += [f"- {plain(line)}" for line in saved.changes] or ["Изменений нет."]
    if problems_left:
        lines += ["", "**Осталось исправить**", "", *(f"- {plain(line)}" for line in problems_left)]
    create_markdown_artifact("\n".join(lines), key="mapping-changed", description=f"Настройка: {block}")
    get_run_logger().info("Saved: %d changes", len(saved.changes))
    return result


def resend_form(result: Mapping[str, Any]) -> Form:
    """Return the form that asks whether cards are to get their values in the new fields at once."""
    rows = result["rows"]
    text = (
        "## Отправить значения в новые поля?\n\nДанные, для которых выбрано другое поле, стоят в прежнем. "
        f"Заново будет отправлено: контактов — {rows.get('contact', 0)}, сделок — {rows.get('lead', 0)}. "
        "Остальное не изменится. Позже: `ident-amocrm mapping backfill`."
    )
    question = Question(name="resend", title="Отправить заново", kind="flag", default=False)
    return Form(title="Отправить заново", text=text, questions=(question,))


@task(name="resend", cache_policy=NO_CACHE, persist_result=False)
def resend_choice(result: Mapping[str, Any], by: str) -> dict[str, int]:
    """Make due the cards whose values go to another field now."""
    ledger = open_ledger()
    data = {card: frozenset(names) for card, names in result["redirected"].items()}
    return mark_rows(ledger, load_settings(), _account_id(ledger), data, by)
