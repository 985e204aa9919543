"""Lists: PHP-style query parameters, filters, order, pages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode

from fastapi import Request, Response

from deployments.sandbox.amocrm.answers import api_url, empty, hal
from deployments.sandbox.amocrm.model import Json, Kind, Record
from deployments.sandbox.amocrm.rows import record_row, trash_row
from deployments.sandbox.amocrm.state import State
from deployments.sandbox.amocrm.values import read_value

_BRACKETS = re.compile(r"\[([^\]]*)\]")
_RANGES: dict[Kind, tuple[str, ...]] = {
    "contacts": ("created_at", "updated_at"),
    "leads": ("created_at", "updated_at", "closed_at", "price"),
}
_SETS: dict[Kind, tuple[str, ...]] = {
    "contacts": ("responsible_user_id", "created_by", "updated_by"),
    "leads": ("responsible_user_id", "created_by", "updated_by", "pipeline_id"),
}
# Contacts document created_at too, but live accounts ignore it.
_ORDERS: dict[Kind, tuple[str, ...]] = {
    "contacts": ("id", "updated_at", "name"),
    "leads": ("id", "updated_at", "created_at"),
}
Test = Callable[[Record], bool]


def _number(text: str | None, default: int) -> int:
    return int(text) if text and re.fullmatch(r"-?\d+", text) else default


class Query:
    """Query parameters by their bracket path: `filter[id][]` is `("filter", "id", "")`."""

    def __init__(self, request: Request) -> None:
        self.pairs = parse_qsl(request.url.query, keep_blank_values=True)
        self.paths = [((key.split("[")[0], *_BRACKETS.findall(key)), value) for key, value in self.pairs]

    def first(self, *path: str) -> str | None:
        """Return the first value at exactly this path."""
        return next((value for found, value in self.paths if found == path), None)

    def all(self, *path: str) -> list[str]:
        """Return the values at this path and one level below it."""
        return [
            value for found, value in self.paths if found[: len(path)] == path and len(found) <= len(path) + 1
        ]

    def below(self, *path: str) -> list[tuple[tuple[str, ...], str]]:
        """Return what lies deeper than this path, with the remaining path."""
        size = len(path)
        return [(found[size:], value) for found, value in self.paths if found[:size] == path and found[size:]]

    def ints(self, *path: str) -> list[int]:
        """Return the whole numbers at this path."""
        return [int(value) for value in self.all(*path) if re.fullmatch(r"-?\d+", value)]

    @property
    def with_(self) -> set[str]:
        """Return the words of `with=`."""
        return {word for value in self.all("with") for word in value.split(",")}

    @property
    def page(self) -> int:
        """Return the page number, from 1."""
        return max(1, _number(self.first("page"), 1))

    @property
    def limit(self) -> int:
        """Return the page size: 50 unless told, silently never above 250."""
        return min(250, max(1, _number(self.first("limit"), 50)))

    def page_address(self, page: int) -> str:
        """Return this query with another page number."""
        return urlencode([*((key, value) for key, value in self.pairs if key != "page"), ("page", page)])


def paged(
    request: Request,
    path: str,
    name: str,
    items: Sequence[Any],
    render: Callable[[Any], Json],
    *,
    totals: bool = False,
) -> Response:
    """Answer with one page of a list; 204 when it is empty."""
    query = Query(request)
    page, limit = query.page, query.limit
    chosen = items[(page - 1) * limit : page * limit]
    if not chosen:
        return empty()
    url = api_url(request, path)
    links: Json = {"self": {"href": f"{url}?{query.page_address(page)}"}}
    if len(items) > page * limit:
        links["next"] = {"href": f"{url}?{query.page_address(page + 1)}"}
    body: Json = {"_page": page, "_links": links}
    if totals:
        body |= {"_total_items": len(items), "_page_count": -(-len(items) // limit)}
    return hal(body | {"_embedded": {name: [render(item) for item in chosen]}})


def list_records(request: Request, state: State, kind: Kind) -> Response:
    """Answer a list of contacts or leads."""
    query = Query(request)
    with_ = query.with_
    deleted = "only_deleted" in with_
    records: Iterable[Record] = _candidates(state, kind, query)
    tests = _tests(state, kind, query)
    found = [one for one in records if one.is_deleted is deleted and all(test(one) for test in tests)]
    _sort(kind, query, found)
    links = ("leads" if kind == "contacts" else "contacts") in with_

    def render(record: Record) -> Json:
        row = trash_row(state, record) if deleted else record_row(state, record, links=links)
        return row | {"_links": {"self": {"href": api_url(request, f"{kind}/{record.id}")}}}

    return paged(request, kind, kind, found, render)


def _candidates(state: State, kind: Kind, query: Query) -> Iterable[Record]:
    records = state.records[kind]
    ids = query.ints("filter", "id")
    if ids:
        return [records[one] for one in sorted(set(ids)) if one in records]
    return records.values()


def _tests(state: State, kind: Kind, query: Query) -> list[Test]:
    tests: list[Test] = []
    text = query.first("query")
    if text:
        hits = state.index.search(kind, text)
        tests.append(lambda record: record.id in hits)
    for attribute in _SETS[kind]:
        wanted = set(query.ints("filter", attribute))
        if wanted:
            tests.append(_in_set(attribute, wanted))
    names = query.all("filter", "name")
    if names:
        tests.append(lambda record: record.name in names)
    for attribute in _RANGES[kind]:
        test = _in_range(attribute, query)
        if test:
            tests.append(test)
    statuses = _status_pairs(query)
    if kind == "leads" and statuses:
        tests.append(lambda record: (record.pipeline_id, record.status_id) in statuses)
    if state.api_filter:  # an account without the feature answers with unfiltered rows, not with an error
        tests.extend(_custom_field_tests(state, kind, query))
    return tests


def _in_set(attribute: str, wanted: set[int]) -> Test:
    return lambda record: getattr(record, attribute) in wanted


def _in_range(attribute: str, query: Query) -> Test | None:
    exact = query.first("filter", attribute)
    start, end = (query.first("filter", attribute, edge) for edge in ("from", "to"))
    if exact is not None:
        return lambda record: str(getattr(record, attribute)) == exact
    if start is None and end is None:
        return None
    lowest, highest = _number(start, -(2**62)), _number(end, 2**62)

    def test(record: Record) -> bool:
        value = getattr(record, attribute)
        return value is not None and lowest <= value <= highest

    return test


def _status_pairs(query: Query) -> set[tuple[int, int]]:
    pairs: dict[str, dict[str, int]] = {}
    for path, value in query.below("filter", "statuses"):
        if len(path) == 2 and value.isdigit():
            pairs.setdefault(path[0], {})[path[1]] = int(value)
    keys = {"pipeline_id", "status_id"}
    return {(one["pipeline_id"], one["status_id"]) for one in pairs.values() if one.keys() >= keys}


def _custom_field_tests(state: State, kind: Kind, query: Query) -> list[Test]:
    wanted: dict[int, set[str]] = {}
    for path, value in query.below("filter", "custom_fields_values"):
        if path[0].isdigit():
            wanted.setdefault(int(path[0]), set()).add(value)
    return [_custom_field_test(state, kind, field_id, values) for field_id, values in wanted.items()]


def _custom_field_test(state: State, kind: Kind, field_id: int, wanted: set[str]) -> Test:
    field = state.fields[kind].get(field_id)

    def test(record: Record) -> bool:
        if field is None or not state.index.knows(kind, record.id):
            return False
        values = (read_value(field, stored) or {} for stored in record.values.get(field_id, []))
        return any(str(value.get("enum_id", value.get("value"))) in wanted for value in values)

    return test


def _sort(kind: Kind, query: Query, found: list[Record]) -> None:
    orders = [(path, value) for path, value in query.below("order") if path[0] in _ORDERS[kind]]
    if orders:  # only the first key is honoured
        (key, *_), direction = orders[0]
        found.sort(key=lambda record: (getattr(record, key), record.id), reverse=direction == "desc")
