"""The form that the Prefect UI shows for the question."""

from __future__ import annotations

from prefect.utilities.callables import parameter_schema

from flows.explain import ENTITIES, explain
from tasks.frames import Entity


def test_the_form_asks_in_russian() -> None:
    (form,) = parameter_schema(explain).definitions.values()
    fields = form["properties"]
    assert {name: field["title"] for name, field in fields.items()} == {
        "clinic": "Клиника",
        "what": "Что",
        "number": "Номер в IDENT",
    }
    assert fields["what"]["enum"] == list(ENTITIES)
    assert form["required"] == ["number"]
    assert set(ENTITIES.values()) == set(Entity)
