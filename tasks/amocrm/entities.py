"""What contacts and leads have in common: pages, reads by id, batches, and the shape of a row."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from tasks.amocrm.client import AmoClient
from tasks.errors import UnexpectedAnswerError
from tasks.records import FieldValues, RemoteContact, RemoteLead

__all__ = [
    "create",
    "field_values",
    "highest_id",
    "newest_down_to",
    "pages",
    "read_by_ids",
    "rows",
    "tags",
    "update",
]

Row = dict[str, Any]
Remote = TypeVar("Remote", RemoteContact, RemoteLead)
IDS_PER_READ = 50
PAGE = 250


def pages(client: AmoClient, path: str, key: str, params: Mapping[str, Any]) -> Iterator[list[Row]]:
    """Read all pages of a list: until nothing comes, or no next page is named."""
    number = 1
    while True:
        answer = client.get(path, {**params, "page": number})
        if answer is None:
            return
        found = answer.get("_embedded", {}).get(key)
        if not isinstance(found, list):
            raise UnexpectedAnswerError(
                problem=f"The answer to GET {path} has no list of {key}.",
                remedy="Check the account's address; if it is right, ask amoCRM's support.",
            )
        yield found
        if "next" not in (answer.get("_links") or {}):
            return
        number += 1


def rows(client: AmoClient, path: str, key: str, params: Mapping[str, Any]) -> Iterator[Row]:
    """Read all rows of a list."""
    for page in pages(client, path, key, params):
        yield from page


def read_by_ids(
    client: AmoClient,
    key: str,
    ids: Collection[int],
    parse: Callable[[Row], Remote],
    params: Mapping[str, Any],
) -> dict[int, Remote]:
    """Read entities by id; what does not exist is absent.

    Raises:
        UnexpectedAnswerError: When the filter was ignored: amoCRM answered only strangers.
    """
    found: dict[int, Remote] = {}
    ordered = sorted(set(ids))
    for start in range(0, len(ordered), IDS_PER_READ):
        asked = ordered[start : start + IDS_PER_READ]
        answer = client.get(key, {**params, "limit": PAGE, "filter[id][]": asked})
        received = [] if answer is None else answer["_embedded"][key]
        mine = {row["id"]: parse(row) for row in received if row["id"] in asked}
        if received and not mine:
            raise UnexpectedAnswerError(
                problem=f"amoCRM ignored the filter by id and answered other {key}.",
                remedy="Nothing was changed. Try again later; if it lasts, ask amoCRM's support.",
                code="filter_ignored",
            )
        found |= mine
    return found


def newest_down_to(
    client: AmoClient,
    key: str,
    amo_id: int,
    page_size: int,
    parse: Callable[[Row], Remote],
    params: Mapping[str, Any],
) -> Iterator[Remote]:
    """Read entities by descending id until one is not above ``amo_id``.

    Raises:
        UnexpectedAnswerError: When ids do not descend: then this reading proves nothing.
    """
    last: int | None = None
    for row in rows(client, key, key, {**params, "limit": page_size, "order[id]": "desc"}):
        number = int(row["id"])
        if last is not None and number > last:
            raise UnexpectedAnswerError(
                problem=f"amoCRM ignored the order of {key} by id.",
                remedy="Nothing was changed. Try again later; if it lasts, ask amoCRM's support.",
                code="order_ignored",
            )
        if last == number:
            continue  # a new entity pushed this one to the next page
        last = number
        if number <= amo_id:
            return
        yield parse(row)


def highest_id(client: AmoClient, key: str) -> int:
    """Return the highest id there is, 0 when there is none."""
    answer = client.get(key, {"limit": 1, "order[id]": "desc"})
    found = [] if answer is None else answer["_embedded"][key]
    return max((int(row["id"]) for row in found), default=0)


def create(client: AmoClient, key: str, payloads: Sequence[Row]) -> dict[str, int]:
    """Create entities; answers ids by ``request_id``, never by order."""
    answer = client.post(key, list(payloads))
    created = (answer or {}).get("_embedded", {}).get(key) or ()
    return {str(row["request_id"]): int(row["id"]) for row in created if "request_id" in row}


def update(client: AmoClient, key: str, payloads: Sequence[Row]) -> frozenset[int]:
    """Update entities; answers the ids that amoCRM acknowledged."""
    answer = client.patch(key, list(payloads))
    return frozenset(int(row["id"]) for row in (answer or {}).get("_embedded", {}).get(key) or ())


def field_values(row: Row) -> FieldValues:
    """Return the custom fields of a row by id; amoCRM says null where there are none."""
    return {
        int(item["field_id"]): tuple(item.get("values") or ())
        for item in row.get("custom_fields_values") or ()
    }


def tags(row: Row) -> frozenset[str]:
    """Return the names of a row's tags."""
    return frozenset(str(tag["name"]) for tag in (row.get("_embedded") or {}).get("tags") or ())
