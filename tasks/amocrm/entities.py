"""What contacts and leads have in common: pages, reads by id, batches, and the shape of a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, TypeVar

from tasks.amocrm.client import AmoClient
from tasks.errors import UnexpectedAnswerError
from tasks.records import FieldValues, RemoteContact, RemoteLead

__all__ = [
    "acknowledged",
    "create",
    "embedded",
    "field_values",
    "highest_id",
    "listed",
    "newest_down_to",
    "pages",
    "parsed",
    "read_all",
    "read_by_ids",
    "row_id",
    "rows",
    "tags",
    "text",
    "trashed_above",
    "update",
    "whole",
]

Row = dict[str, Any]
Record = TypeVar("Record")
Remote = TypeVar("Remote", RemoteContact, RemoteLead)
IDS_PER_READ = 50
PAGE = 250
#: What a ledger can hold; amoCRM's ids are far below.
HIGHEST = 2**63 - 1
STRANGE = "Check the account's address; if it is right, ask amoCRM's support."
AGAIN = "Nothing was changed. Try again later; if it lasts, ask amoCRM's support."


def embedded(answer: Row | None, key: str, request: str) -> list[Row]:
    """Return the rows of a list; none when nothing came (204).

    Raises:
        UnexpectedAnswerError: When the answer is no such list.
    """
    if answer is None:
        return []
    holder = answer.get("_embedded")
    found = holder.get(key) if isinstance(holder, dict) else None
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise UnexpectedAnswerError(problem=f"The answer to {request} has no list of {key}.", remedy=STRANGE)
    return found


def parsed(row: Row, parse: Callable[[Row], Record], request: str) -> Record:
    """Read a row.

    Raises:
        UnexpectedAnswerError: When it does not have the shape that the API describes.
    """
    try:
        return parse(row)
    except (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError):
        # What it holds may be a person's: only where it came from is told.
        raise UnexpectedAnswerError(
            problem=f"A row of the answer to {request} has an unknown shape.", remedy=STRANGE
        ) from None


def pages(client: AmoClient, path: str, key: str, params: Mapping[str, Any]) -> Iterator[list[Row]]:
    """Read all pages of a list: until nothing comes, or no next page is named.

    Raises:
        UnexpectedAnswerError: When the page number is ignored, which would never end.
    """
    before: list[Row] | None = None
    for number in count(1):
        answer = client.get(path, {**params, "page": number})
        found = embedded(answer, key, f"GET {path}")
        if not found:
            return
        if found == before:
            raise UnexpectedAnswerError(
                problem=f"amoCRM ignored the page number of {path}.", remedy=AGAIN, code="page_ignored"
            )
        yield found
        before = found
        links = (answer or {}).get("_links")
        if not isinstance(links, dict) or not links.get("next"):
            return


def rows(client: AmoClient, path: str, key: str, params: Mapping[str, Any]) -> Iterator[Row]:
    """Read all rows of a list."""
    for page in pages(client, path, key, params):
        yield from page


def read_all(
    client: AmoClient,
    key: str,
    parse: Callable[[Row], Remote],
    params: Mapping[str, Any],
    *,
    newest_first: bool,
) -> Iterator[Remote]:
    """Read all entities, each once.

    By ascending id, what is created meanwhile comes last and shifts nobody; by descending id, it pushes rows
    to the next page, where they are met a second time.
    """
    seen: set[int] = set()
    order = {"limit": client.page_size, "order[id]": "desc" if newest_first else "asc"}
    for row in rows(client, key, key, {**params, **order}):
        entity = parsed(row, parse, f"GET {key}")
        if entity.id not in seen:
            seen.add(entity.id)
            yield entity


def read_by_ids(
    client: AmoClient,
    key: str,
    ids: Collection[int],
    parse: Callable[[Row], Record],
    params: Mapping[str, Any],
) -> dict[int, Record]:
    """Read entities by id; what does not exist is absent.

    Raises:
        UnexpectedAnswerError: When the filter was ignored: amoCRM answered only strangers.
    """
    found: dict[int, Record] = {}
    ordered = sorted(set(ids))
    for start in range(0, len(ordered), IDS_PER_READ):
        asked = ordered[start : start + IDS_PER_READ]
        answer = client.get(key, {**params, "limit": PAGE, "filter[id][]": asked})
        received = embedded(answer, key, f"GET {key}")
        mine = {row["id"]: parsed(row, parse, f"GET {key}") for row in received if row.get("id") in asked}
        if received and not mine:
            raise UnexpectedAnswerError(
                problem=f"amoCRM ignored the filter by id and answered other {key}.",
                remedy=AGAIN,
                code="filter_ignored",
            )
        found |= mine
    return found


def newest_down_to(
    client: AmoClient, key: str, amo_id: int, parse: Callable[[Row], Remote], params: Mapping[str, Any]
) -> Iterator[Remote]:
    """Read entities by descending id until one is not above ``amo_id``.

    Raises:
        UnexpectedAnswerError: When ids do not descend: then this reading proves nothing.
    """
    seen: set[int] = set()
    last: int | None = None
    order = {"limit": client.page_size, "order[id]": "desc"}
    for page in pages(client, key, key, {**params, **order}):
        found = [parsed(row, parse, f"GET {key}") for row in page]
        # What was met before was pushed here by entities created meanwhile.
        new = [entity for entity in found if entity.id not in seen]
        # The whole page is judged first: in ascending order the very first row would end the reading.
        for entity in new:
            if last is not None and entity.id > last:
                raise UnexpectedAnswerError(
                    problem=f"amoCRM ignored the order of {key} by id.", remedy=AGAIN, code="order_ignored"
                )
            last = entity.id
            seen.add(entity.id)
        yield from (entity for entity in new if entity.id > amo_id)
        if last is not None and last <= amo_id:
            return


def trashed_above(client: AmoClient, key: str, amo_id: int) -> frozenset[int]:
    """Return ids above ``amo_id`` that stand in the trash.

    A trashed row has almost nothing but its id (``amocrm.md`` 11), so whose it was cannot be read. Rows that
    look alive are no answer to this question: amoCRM ignores what it does not know, without a word.
    """
    found: set[int] = set()
    params = {"limit": client.page_size, "with": "only_deleted", "order[id]": "desc"}
    for row in rows(client, key, key, params):
        number = parsed(row, row_id, f"GET {key}")
        if number > amo_id and not row.get("name"):
            found.add(number)
    return frozenset(found)


def highest_id(client: AmoClient, key: str) -> int:
    """Return the highest id there is, 0 when there is none."""
    answer = client.get(key, {"limit": 1, "order[id]": "desc"})
    found = embedded(answer, key, f"GET {key}")
    return max((parsed(row, row_id, f"GET {key}") for row in found), default=0)


def row_id(row: Row) -> int:
    """Return the id of a row."""
    number = whole(row["id"])
    if number <= 0:
        raise ValueError
    return number


def whole(value: object) -> int:
    """Return a whole number, 0 where there is none; amoCRM writes some as texts, some as floats."""
    if value is None or value == "":
        return 0
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError
    number = int(value)
    if abs(number) > HIGHEST:
        raise ValueError
    return number


def text(value: object) -> str:
    """Return a text, empty where there is none."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError
    return value


def create(client: AmoClient, key: str, payloads: Sequence[Row]) -> dict[str, int]:
    """Create entities; answers ids by ``request_id``, never by order.

    A request id that amoCRM does not name is absent, and so is one that it names with two ids, or with the id
    of another: what was created is unknown then, so an answer of a strange shape is no error here.
    """
    if not payloads:
        return {}
    sent = {str(payload["request_id"]) for payload in payloads if "request_id" in payload}
    rows_named = acknowledged(client.post(key, list(payloads)), key)
    named = {(str(row["request_id"]), row["id"]) for row in rows_named if str(row.get("request_id")) in sent}
    ids, owners = Counter(name for name, _id in named), Counter(number for _name, number in named)
    return {name: number for name, number in named if ids[name] == owners[number] == 1}


def update(client: AmoClient, key: str, payloads: Sequence[Row]) -> frozenset[int]:
    """Update entities; answers the ids that amoCRM acknowledged."""
    if not payloads:
        return frozenset()
    sent = {payload.get("id") for payload in payloads}
    return frozenset(
        row["id"] for row in acknowledged(client.patch(key, list(payloads)), key) if row["id"] in sent
    )


def acknowledged(answer: Row | None, key: str) -> list[Row]:
    """Return the rows of an answer to a write that name an id."""
    return [row for row in listed(answer, key) if _is_id(row.get("id"))]


def listed(answer: Row | None, key: str) -> list[Row]:
    """Return the rows of an answer to a write; none where its shape is strange: it may have been written."""
    holder = (answer or {}).get("_embedded")
    found = holder.get(key) if isinstance(holder, dict) else None
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= HIGHEST


def field_values(row: Row) -> FieldValues:
    """Return the custom fields of a row by id; amoCRM says null where there are none."""
    found = {
        whole(item["field_id"]): tuple(item.get("values") or ())
        for item in row.get("custom_fields_values") or ()
    }
    if not all(isinstance(value, dict) for values in found.values() for value in values):
        raise TypeError
    return found


def tags(row: Row) -> frozenset[str]:
    """Return the names of a row's tags."""
    return frozenset(text(tag["name"]) for tag in (row.get("_embedded") or {}).get("tags") or ())
