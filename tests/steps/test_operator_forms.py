"""The forms of the Prefect UI: Russian, safe by default, and without a place for a secret."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from prefect import Flow
from prefect.utilities.callables import parameter_schema

from flows.connect import connect_amocrm, connect_database, disconnect_database, rename
from flows.journal import journal
from flows.review import review_rejects
from flows.subscription import Paid, subscription_activate, subscription_extend, subscription_quote
from flows.transfer import AHEAD, PAST, Confirmation, LaunchForm, start_transfer, stop_transfer
from tasks.subscription.terms import MONTHS

FLOWS: list[Flow[..., Any]] = [
    connect_amocrm,
    connect_database,
    disconnect_database,
    journal,
    rename,
    review_rejects,
    start_transfer,
    stop_transfer,
    subscription_activate,
    subscription_extend,
    subscription_quote,
]


def fields(flow: Flow[..., Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for definition in parameter_schema(flow).definitions.values():
        yield from definition.get("properties", {}).items()


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_an_operator_reads_russian(flow: Flow[..., Any]) -> None:
    assert re.search("[а-я]", flow.description or "")
    for name, field in fields(flow):
        assert re.search("[а-яА-Я]", field["title"]), name


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_no_form_asks_for_a_secret(flow: Flow[..., Any]) -> None:
    """Parameters are stored in clear."""
    for name, field in fields(flow):
        assert field.get("format") != "password", name
        assert not re.search("password|token|secret|code|phone|email", name), name


@pytest.mark.parametrize("form", [Confirmation, Paid])
def test_an_empty_answer_does_nothing(form: Any) -> None:
    assert not any(form().model_dump(exclude={"keyset"}).values())
    for name in ("confirmed", "paid"):
        if name in form.model_fields:
            assert form.model_fields[name].default is False


def test_the_choices_are_what_the_flows_understand() -> None:
    properties = LaunchForm.model_json_schema()["properties"]
    assert properties["past"]["enum"] == list(PAST)
    assert properties["ahead"]["enum"] == list(AHEAD)
    assert PAST[LaunchForm().past] == 0, "history is an explicit choice"
    assert AHEAD[LaunchForm().ahead] is None
    terms = dict(fields(subscription_activate))["term"]["enum"]
    assert terms == [f"{months} месяцев" for months in MONTHS]
    for flow in (subscription_activate, subscription_extend):
        assert dict(fields(flow))["offer_accepted"]["default"] is False
