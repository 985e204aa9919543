"""The stand-in amoCRM answers as the documentation says the real one does."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from deployments.sandbox.amocrm.server import StandIn
from tests.support.amocrm_caller import Caller, paths, values_of

MOSCOW = ZoneInfo("Europe/Moscow")


def test_fresh_account(api: Caller) -> None:
    account = api.get("account?with=datetime_settings,is_api_filter_enabled")
    assert account["_embedded"]["datetime_settings"]["timezone"] == "Europe/Moscow"
    assert account["is_api_filter_enabled"] is False
    assert "_embedded" not in api.get("account")
    (pipeline,) = api.get("leads/pipelines")["_embedded"]["pipelines"]
    statuses = pipeline["_embedded"]["statuses"]
    assert (pipeline["name"], pipeline["is_main"]) == ("Воронка", True)
    assert (statuses[0]["name"], statuses[0]["type"]) == ("Неразобранное", 1)
    assert [status["id"] for status in statuses[-2:]] == [142, 143]
    fields = {row["code"]: row for row in api.get("contacts/custom_fields")["_embedded"]["custom_fields"]}
    assert [one["value"] for one in fields["PHONE"]["enums"]] == [
        "WORK",
        "WORKDD",
        "MOB",
        "FAX",
        "HOME",
        "OTHER",
    ]
    assert [one["value"] for one in fields["EMAIL"]["enums"]] == ["WORK", "PRIV", "OTHER"]
    assert "POSITION" in fields
    assert api.call("GET", "leads/custom_fields").status_code == 204
    assert api.get("users")["_total_items"] == 3


def test_pages_end_with_204(api: Caller) -> None:
    answer = api.call("GET", "contacts")
    assert (answer.status_code, answer.content) == (204, b"")
    ids = api.contacts(*({"name": f"Пациент {number}"} for number in range(5)))
    first = api.get("contacts?limit=3&order[id]=asc&with=leads")
    assert [row["id"] for row in first["_embedded"]["contacts"]] == ids[:3]
    assert first["_embedded"]["contacts"][0]["custom_fields_values"] is None
    following = api.session.get(first["_links"]["next"]["href"], timeout=10).json()
    assert [row["id"] for row in following["_embedded"]["contacts"]] == ids[3:]
    assert "leads" in following["_embedded"]["contacts"][0]["_embedded"]
    assert "next" not in following["_links"]
    assert api.call("GET", "contacts?limit=3&page=3").status_code == 204
    newest = api.get("contacts?order[id]=desc&limit=1")["_embedded"]["contacts"]
    assert newest[0]["id"] == ids[-1]
    assert api.call("GET", f"contacts/{ids[-1] + 1000}").status_code == 204


def test_page_size_is_clamped(api: Caller) -> None:
    for start in range(0, 260, 130):
        api.contacts(*({"name": f"Пациент {number}"} for number in range(start, start + 130)))
    assert len(api.get("contacts")["_embedded"]["contacts"]) == 50
    assert len(api.get("contacts?limit=500")["_embedded"]["contacts"]) == 250
    assert api.call("POST", "contacts", [{"name": "x"}] * 251).status_code == 400


def test_filters(api: Caller) -> None:
    ids = api.contacts({"name": "А", "created_at": 1000}, {"name": "Б", "created_at": 2000}, {"name": "В"})

    def found(query: str) -> list[int]:
        answer = api.get(f"contacts?{query}")
        return [row["id"] for row in answer["_embedded"]["contacts"]] if answer else []

    assert found(f"filter[id][]={ids[2]}&filter[id][]={ids[0]}&filter[id][]=1") == [ids[0], ids[2]]
    assert found("filter[created_at][from]=1500&filter[created_at][to]=2500") == [ids[1]]
    assert found("filter[name]=%D0%90") == [ids[0]]
    assert found("filter[id][]=1") == []


def test_lead_filters(api: Caller) -> None:
    pipeline = api.get("leads/pipelines")["_embedded"]["pipelines"][0]
    stage = pipeline["_embedded"]["statuses"][2]["id"]
    first, second = api.leads({"name": "А"}, {"name": "Б", "status_id": stage})
    query = f"filter[statuses][0][pipeline_id]={pipeline['id']}&filter[statuses][0][status_id]={stage}"
    assert [row["id"] for row in api.get(f"leads?{query}")["_embedded"]["leads"]] == [second]
    rows = api.get(f"leads?filter[pipeline_id][]={pipeline['id']}")["_embedded"]["leads"]
    assert [row["id"] for row in rows] == [first, second]
    assert api.get("leads?filter[pipeline_id][]=1") is None


def test_custom_field_filter_is_silently_ignored(crm: StandIn, api: Caller) -> None:
    field = api.field("contacts", "text", code="IDENT_PATIENT_ID", is_api_only=True)["id"]
    ids = api.contacts(
        {"name": "А", "custom_fields_values": [{"field_id": field, "values": [{"value": "IDENT-P-1"}]}]},
        {"name": "Б"},
    )
    query = f"contacts?filter[custom_fields_values][{field}][]=IDENT-P-1"
    assert [row["id"] for row in api.get(query)["_embedded"]["contacts"]] == ids
    crm.admin("settings", {"api_filter": True})
    assert [row["id"] for row in api.get(query)["_embedded"]["contacts"]] == ids[:1]


def test_one_bad_item_refuses_the_batch(api: Caller) -> None:
    errors = api.errors(
        "POST",
        "leads",
        [
            {"name": "Хорошая", "request_id": "a-1"},
            {
                "name": "Плохая",
                "request_id": "a-2",
                "price": 10.5,
                "colour": "red",
                "custom_fields_values": [{"field_id": 1, "values": [{"value": "x"}]}],
            },
            {"name": "Тоже", "status_id": 5},
        ],
    )
    assert paths(errors) == {
        "a-2": [
            ("InvalidType", "price"),
            ("FieldNotExpected", "colour"),
            ("NotSupportedChoice", "custom_fields_values.0.field_id"),
        ],
        "2": [("NotSupportedChoice", "status_id")],
    }
    assert errors[0]["errors"][0]["detail"] == "This value should be of type int."
    assert api.get("leads") is None


def test_refused_values(api: Caller) -> None:
    text = api.field("contacts", "text")["id"]
    day = api.field("contacts", "date")["id"]
    items = [
        {"field_id": text, "values": [{"value": 5}]},
        {"field_id": text, "field_name": "Поле", "values": [{"value": "x"}]},
        {"field_id": text, "values": [{"value": "x" * 256}]},
        {"field_id": day, "values": [{"value": "1990-05-17"}]},
        {"field_code": "PHONE", "values": [{"value": "+79161234567", "enum_code": "CELL"}]},
        {"values": [{"value": "x"}]},
    ]
    (error,) = api.errors("POST", "contacts", [{"name": "А", "custom_fields_values": items}])
    assert [(one["code"], one["path"]) for one in error["errors"]] == [
        ("InvalidType", "custom_fields_values.0.values.0.value"),
        ("FieldNotExpected", "custom_fields_values.1.field_name"),
        ("TooLong", "custom_fields_values.2.values.0.value"),
        ("InvalidType", "custom_fields_values.3.values.0.value"),
        ("NotSupportedChoice", "custom_fields_values.4.values.0.enum_code"),
        ("FieldMissing", "custom_fields_values.5.field_id"),
    ]


def test_select_takes_known_choices_only(api: Caller) -> None:
    field = api.field(
        "leads", "select", enums=[{"value": "Первичный", "sort": 1}, {"value": "Повторный", "sort": 2}]
    )
    first, second = (one["id"] for one in field["enums"])

    def item(value: dict[str, Any]) -> dict[str, Any]:
        return {"custom_fields_values": [{"field_id": field["id"], "values": [value]}]}

    by_text, by_id = api.leads(item({"value": "Первичный"}), item({"enum_id": second}))
    stored = values_of(api.get(f"leads/{by_text}"))[field["id"]]
    assert stored == [{"value": "Первичный", "enum_id": first, "enum_code": None}]
    assert values_of(api.get(f"leads/{by_id}"))[field["id"]][0]["value"] == "Повторный"
    (error,) = api.errors("POST", "leads", [item({"value": "Третий"})])
    assert error["errors"][0]["path"] == "custom_fields_values.0.values.0.value"
    (error,) = api.errors("POST", "leads", [item({"value": "Первичный", "enum_code": None})])
    assert error["errors"][0]["code"] == "FieldNotExpected"
    path = f"leads/custom_fields/{field['id']}"
    (error,) = api.errors("PATCH", path, {"enums": [{"id": 1, "value": "X"}]})
    assert error["errors"][0]["path"] == "enums.0.id"
    api.send("PATCH", path, {"enums": [{"id": second, "value": "Повторный", "sort": 1}]})
    assert api.get(f"leads/{by_text}")["custom_fields_values"] is None


def test_values_of_a_field_are_replaced(api: Caller) -> None:
    def phones(*pairs: tuple[str, str]) -> list[dict[str, Any]]:
        return [
            {"field_code": "PHONE", "values": [{"value": text, "enum_code": code} for text, code in pairs]}
        ]

    email = {"field_code": "EMAIL", "values": [{"value": "a@example.com"}]}
    both = phones(("+79161234567", "MOB"), ("+74951234567", "OTHER"))
    (contact,) = api.contacts({"name": "Иван", "custom_fields_values": [*both, email]})
    api.send("PATCH", f"contacts/{contact}", {"custom_fields_values": phones(("+79990000000", "WORK"))})
    read = {
        row["field_code"]: row["values"] for row in api.get(f"contacts/{contact}")["custom_fields_values"]
    }
    assert [(one["value"], one["enum_code"]) for one in read["PHONE"]] == [("+79990000000", "WORK")]
    assert isinstance(read["PHONE"][0]["enum_id"], int)
    assert read["EMAIL"][0]["enum_code"] == "WORK"
    api.send(
        "PATCH",
        "contacts",
        [
            {
                "id": contact,
                "custom_fields_values": [
                    {"field_code": "PHONE", "values": [{"value": ""}]},
                    {"field_code": "EMAIL", "values": None},
                ],
            },
        ],
    )
    rows = api.get(f"contacts/{contact}")["custom_fields_values"]
    assert [row["field_code"] for row in rows] == ["PHONE"]


def test_values_read_back(api: Caller) -> None:
    types = ("date", "birthday", "date_time", "numeric", "checkbox")
    fields = {type_: api.field("contacts", type_)["id"] for type_ in types}
    noon = int(datetime(2026, 3, 12, 12, 30, tzinfo=MOSCOW).timestamp())
    sent = {
        "date": 1634601600,
        "birthday": "1958-05-17T00:00:00+03:00",
        "date_time": noon,
        "numeric": 1500.50,
        "checkbox": True,
    }
    items = [{"field_id": fields[type_], "values": [{"value": value}]} for type_, value in sent.items()]
    (contact,) = api.contacts({"name": "А", "custom_fields_values": items})
    read = values_of(api.get(f"contacts/{contact}"))
    values = {type_: read[field][0]["value"] for type_, field in fields.items()}
    assert values == {
        "date": 1634590800,  # sent as midnight UTC, kept as midnight in Moscow (amocrm-api-php issue 402)
        "birthday": int(datetime(1958, 5, 17, tzinfo=MOSCOW).timestamp()),
        "date_time": noon,
        "numeric": "1500.5",
        "checkbox": True,
    }


def test_date_is_midnight_in_the_account_zone() -> None:
    zone = ZoneInfo("Asia/Vladivostok")
    with StandIn(limit=None, timezone="Asia/Vladivostok") as crm:
        api = Caller(crm)
        field = api.field("leads", "date")["id"]
        moment = datetime(2026, 3, 12, 20, 0, tzinfo=UTC)  # already the 13th in Vladivostok
        value = {"field_id": field, "values": [{"value": int(moment.timestamp())}]}
        (lead,) = api.leads({"name": "А", "custom_fields_values": [value]})
        stored = values_of(api.get(f"leads/{lead}"))[field][0]["value"]
        api.session.close()
    assert datetime.fromtimestamp(stored, tz=zone) == datetime(2026, 3, 13, tzinfo=zone)


def test_names(api: Caller) -> None:
    one, two = api.contacts({"first_name": "Анна Петровна", "last_name": "Орлова"}, {"name": "Пётр Лебедев"})
    assert api.get(f"contacts/{one}")["name"] == "Анна Петровна Орлова"
    row = api.get(f"contacts/{two}")
    assert (row["first_name"], row["last_name"]) == ("Пётр", "Лебедев")
    api.send("PATCH", f"contacts/{one}", {"last_name": "Смирнова"})
    assert api.get(f"contacts/{one}")["name"] == "Анна Петровна Смирнова"


def test_updates_name_their_ids(crm: StandIn, api: Caller) -> None:
    one, two = api.contacts({"name": "А"}, {"name": "Б"})
    rows = api.send("PATCH", "contacts", [{"id": one, "name": "В", "request_id": "p-1"}, {"id": two}])
    first, second = rows["_embedded"]["contacts"]
    assert (first["id"], first["request_id"], first["name"]) == (one, "p-1", "В")
    assert "request_id" not in second
    assert paths(api.errors("PATCH", "contacts", [{"name": "А"}])) == {"0": [("FieldMissing", "id")]}
    assert api.call("PATCH", f"contacts/{one}", [{"name": "А"}]).status_code == 405
    crm.admin("delete", {"entity": "contacts", "id": two})
    errors = api.errors("PATCH", "contacts", [{"id": one, "name": "Г"}, {"id": two, "name": "Д"}])
    assert paths(errors) == {"1": [("NotSupportedChoice", "id")]}
    assert api.get(f"contacts/{one}")["name"] == "В"
    assert api.call("GET", f"contacts/{two}").status_code == 204
    (row,) = api.get("contacts?with=only_deleted")["_embedded"]["contacts"]
    assert (row["id"], row["name"], row["is_deleted"]) == (two, None, False)
    (extra,) = api.contacts({"id": one, "name": "Создан заново"})
    assert extra not in {one, two}


def test_stages(api: Caller) -> None:
    item = {
        "name": "Первичный приём",
        "sort": 20,
        "is_main": False,
        "is_unsorted_on": False,
        "request_id": "p1",
        "_embedded": {
            "statuses": [
                {"name": "Запланирован", "sort": 20, "color": "#fffeb2"},
                {"name": "Пришёл", "sort": 30, "color": "#98cbff"},
                {"id": 142, "name": "Счёт выдан"},
                {"id": 143, "name": "Отменён"},
            ],
        },
    }
    bad = item | {"_embedded": {"statuses": [{"name": "Х", "color": "#000000"}]}}
    (error,) = api.errors("POST", "leads/pipelines", [bad])
    assert error["errors"][0]["path"] == "_embedded.statuses.0.color"
    (pipeline,) = api.send("POST", "leads/pipelines", [item])["_embedded"]["pipelines"]
    names = [status["name"] for status in pipeline["_embedded"]["statuses"]]
    assert names == ["Неразобранное", "Запланирован", "Пришёл", "Счёт выдан", "Отменён"]
    unsorted, planned, arrived, *_ = (status["id"] for status in pipeline["_embedded"]["statuses"])
    (lead,) = api.leads({"name": "Приём", "pipeline_id": pipeline["id"], "price": 1500})
    assert api.get(f"leads/{lead}")["status_id"] == planned
    api.send("PATCH", f"leads/{lead}", {"status_id": arrived})
    api.send("PATCH", f"leads/{lead}", {"status_id": 142})
    row = api.get(f"leads/{lead}")
    assert (row["pipeline_id"], row["status_id"], row["price"]) == (pipeline["id"], 142, 1500)
    assert row["closed_at"] is not None
    assert paths(api.errors("PATCH", f"leads/{lead}", {"status_id": unsorted})) == {
        "0": [("NotSupportedChoice", "status_id")],
    }
    address = f"leads/pipelines/{pipeline['id']}"
    assert api.call("DELETE", address).status_code == 422
    (stage,) = api.send("POST", f"{address}/statuses", [{"name": "Не пришёл", "sort": 40}])["_embedded"][
        "statuses"
    ]
    assert stage["id"] in [one["id"] for one in api.get(f"{address}/statuses")["_embedded"]["statuses"]]
    assert api.errors("DELETE", "leads/pipelines/1", None)[0]["errors"][0]["path"] == "id"
    assert api.call("GET", "leads/pipelines/1").json()["detail"] == "Pipeline not found"


def test_field_definitions_are_paged(api: Caller) -> None:
    items = [{"name": f"Поле {number}", "type": "text", "code": f"F{number}"} for number in range(60)]
    answer = api.call("POST", "leads/custom_fields", items)
    assert answer.status_code == 201
    first = api.get("leads/custom_fields")
    assert len(first["_embedded"]["custom_fields"]) == 50
    assert "next" in first["_links"]
    assert len(api.get("leads/custom_fields?limit=250")["_embedded"]["custom_fields"]) == 60
    errors = api.errors(
        "POST",
        "leads/custom_fields",
        [{"name": "Ещё", "type": "text", "code": "F1"}, {"name": "Телефон", "type": "multitext"}],
    )
    assert paths(errors) == {"0": [("NotSupportedChoice", "code")], "1": [("NotSupportedChoice", "type")]}
    field = first["_embedded"]["custom_fields"][0]["id"]
    value = [{"field_id": field, "values": [{"value": "x"}]}]
    (lead,) = api.leads({"name": "А", "custom_fields_values": value})
    assert api.call("DELETE", f"leads/custom_fields/{field}").status_code == 204
    assert api.get(f"leads/{lead}")["custom_fields_values"] is None
    (error,) = api.errors("PATCH", f"leads/{lead}", {"custom_fields_values": value})
    assert error["errors"][0]["path"] == "custom_fields_values.0.field_id"


def test_tags(api: Caller) -> None:
    (lead,) = api.leads({"name": "А", "_embedded": {"tags": [{"name": "IDENT"}, {"name": "VIP"}]}})
    api.send(
        "PATCH", f"leads/{lead}", {"tags_to_add": [{"name": "Новый"}], "tags_to_delete": [{"name": "VIP"}]}
    )
    assert [tag["name"] for tag in api.get(f"leads/{lead}")["_embedded"]["tags"]] == ["IDENT", "Новый"]
    api.send("PATCH", f"leads/{lead}", {"_embedded": {"tags": None}})
    assert len(api.get(f"leads/{lead}")["_embedded"]["tags"]) == 2
    api.send("PATCH", f"leads/{lead}", {"_embedded": {"tags": []}})
    assert api.get(f"leads/{lead}")["_embedded"]["tags"] == []
    assert [row["name"] for row in api.get("leads/tags?query=ident")["_embedded"]["tags"]] == ["IDENT"]


def test_links(api: Caller) -> None:
    mother, child = api.contacts({"name": "Мать"}, {"name": "Дочь"})
    (lead,) = api.leads({"name": "А", "_embedded": {"contacts": [{"id": mother, "is_main": True}]}})

    def linked() -> list[tuple[int, bool]]:
        (row,) = api.get(f"leads?filter[id][]={lead}&with=contacts")["_embedded"]["leads"]
        return [(one["id"], one["is_main"]) for one in row["_embedded"]["contacts"]]

    assert linked() == [(mother, True)]
    link = {"to_entity_id": child, "to_entity_type": "contacts", "metadata": {"is_main": True}}
    for _ in range(2):
        api.send("POST", f"leads/{lead}/link", [link])
    assert linked() == [(mother, False), (child, True)]
    assert api.call("POST", f"leads/{lead}/unlink", [link]).status_code == 204
    assert linked() == [(mother, True)]
    api.send("POST", "leads/link", [link | {"entity_id": lead, "metadata": {"is_main": False}}])
    assert api.get(f"leads/{lead}/links")["_total_items"] == 2
    assert [row["to_entity_id"] for row in api.get(f"contacts/{child}/links")["_embedded"]["links"]] == [lead]
    (row,) = api.get(f"contacts?filter[id][]={child}&with=leads")["_embedded"]["contacts"]
    assert row["_embedded"]["leads"] == [{"id": lead}]
    assert api.call("POST", "leads/unlink", [link | {"entity_id": lead}]).status_code == 204
    (error,) = api.errors("POST", f"leads/{lead}/link", [link | {"to_entity_id": 5}])
    assert error["errors"][0]["path"] == "to_entity_id"


def test_notes(api: Caller) -> None:
    (lead,) = api.leads({"name": "А"})
    assert api.call("GET", f"leads/{lead}/notes").status_code == 204
    note = {"entity_id": lead, "note_type": "common", "params": {"text": "Перенос записи"}}
    (row,) = api.send("POST", "leads/notes", [note])["_embedded"]["notes"]
    api.send("POST", f"leads/{lead}/notes", [{"note_type": "common", "params": {"text": "Второе"}}])
    read = api.get(f"leads/{lead}/notes?limit=1")
    assert read["_embedded"]["notes"][0]["id"] == row["id"]
    assert read["_embedded"]["notes"][0]["params"] == {"text": "Перенос записи"}
    assert "next" in read["_links"]
    (error,) = api.errors("POST", "leads/notes", [{"note_type": "common", "params": {}}])
    assert [one["path"] for one in error["errors"]] == ["entity_id", "params.text"]
