"""An amoCRM that answers each request with what it should, or with anything else.

The right answer is made of the request itself; then a part of it is replaced, dropped, doubled or cut, or the
whole of it gives way to a page of a proxy, to nonsense, or to no answer at all. What was answered is kept, so
that a test can tell what was really acknowledged.
"""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests
import urllib3
from requests.adapters import BaseAdapter

NAME, PHONE, MAIL = "Берёзкина", "79161234567", "patient17@example.org"
#: What a leaky answer may repeat, and no message of ours may.
PERSONAL = (NAME, NAME.upper(), PHONE, PHONE[1:], MAIL)
ECHO = f"Контакт {NAME} +{PHONE} <{MAIL}>"


def _nested(depth: int) -> Any:
    found: Any = 1
    for _level in range(depth):
        found = [found]
    return found


#: Values that stand where others belong.
JUNK: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 1.0, 1.5, 2**31, 2**53, 2**63 - 1, 2**63, 10**300, -(10**30),
    float("nan"), float("inf"), float("-inf"), 1e308, "", " ", "0", "-1", "1e3", "٣", "²", "x" * 5000, "\x00",
    "\ud800", "\u202e", "nan", "Infinity", "None", "9999-99-99", "10000000000000000", ECHO, NAME, PHONE, MAIL,
    [], {}, [[]], [None], [{}], [ECHO], {"id": None}, {"id": []}, {"value": {}}, {"value": ECHO}, _nested(300),
)  # fmt: skip
DOCUMENTS: tuple[bytes, ...] = (
    b"", b" \r\n", b"null", b"true", b"0", b'"text"', b"[]", b"{}", b"[{}]", b"NaN", b"-Infinity", b"[NaN]", b"{",
    b'{"id":', b'{"a":1}{"a":2}', b"{'a': 1}", b"\xff\xfe{\x00}\x00", b"\xef\xbb\xbf{}", b"\xff\xff\xff", b"\x00",
    b'{"id": "\xed\xa0\x80"}', b'{"a": "\xc3"}', b"[" * 100_000, b'{"a":' * 50_000, b"9" * 10_000,
    b'{"id": ' + b"9" * 5000 + b"}", b'{"_embedded": ' + b"[" * 500 + b"]" * 500 + b"}",
    f"<html><title>502</title><p>{ECHO}</p></html>".encode(),
    json.dumps({"title": ECHO, "detail": ECHO, "status": 400}).encode(),
    json.dumps({"validation-errors": [{"request_id": PHONE, "errors": [{"code": PHONE, "path": PHONE}]}]}).encode(),
    json.dumps({"validation-errors": [{"request_id": ECHO, "errors": [{"code": MAIL, "path": NAME}]}]}).encode(),
    json.dumps({"validation-errors": {"0": {"errors": [{"code": {}, "path": []}]}}}).encode(),
)  # fmt: skip
STATUSES = (
    *(200,) * 12, 201, 202, 204, 206, 299, 301, 302, 304, *(400,) * 4, 401, 402, 403, 404, 405, 407, 408, 409, 422,
    429, 500, 502, 503, 504, 599, 600, 999,
)  # fmt: skip
HEADERS: tuple[dict[str, str], ...] = (
    {}, {}, {}, {"Content-Type": "application/hal+json"}, {"Content-Type": "text/html; charset=nonsense"},
    {"Content-Type": "\x01;;;="}, {"Content-Encoding": "gzip"}, {"Content-Encoding": "deflate, gzip"},
    {"Retry-After": "1"}, {"Retry-After": "-5"}, {"Retry-After": "nan"}, {"Retry-After": "1e308"},
    {"Retry-After": "Mon, 16 Nov 2009 13:32:02 +99999999999999999999"},
    {"Retry-After": "Mon, 16 Nov 99999999999999999999 13:32:02 GMT"}, {"Retry-After": "Mon, 01 Jan 0001 00:00:00 +1400"},
    {"Retry-After": "Fri, 31 Dec 9999 23:59:59 -1400"}, {"Retry-After": ", , , "}, {"Retry-After": ECHO},
    {"X-Request-Id": "a1b2-c3"}, {"X-Request-Id": ECHO}, {"X-Request-Id": "a\r\nb"}, {"Location": f"/?q={PHONE}"},
)  # fmt: skip
FAILURES: tuple[Callable[[], Exception], ...] = (
    lambda: requests.ConnectionError(urllib3.exceptions.ProtocolError("cut")),
    lambda: requests.ReadTimeout(ECHO),
    lambda: requests.exceptions.ChunkedEncodingError(ECHO),
    lambda: requests.exceptions.ContentDecodingError(ECHO),
)
HOW = (
    *("right",) * 4,
    *("replaced",) * 8,
    *("dropped",) * 3,
    "doubled",
    "turned",
    "cut",
    "document",
    "document",
    "none",
)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and what became of it; ``status`` 0: no answer came."""

    verb: str
    path: str
    sent: Any
    status: int
    body: bytes

    def named(self, key: str) -> list[dict[str, Any]]:
        """The rows with an id that a usable answer lists under a key."""
        try:
            found = json.loads(self.body)["_embedded"][key]
        except (KeyError, TypeError, ValueError, RecursionError):
            return []
        usable = 200 <= self.status < 300 and isinstance(found, list)
        return [row for row in found if isinstance(row, dict) and "id" in row] if usable else []


class WildAmo(BaseAdapter):
    """Plays the account; mounted on a client's session.

    Args:
        random: Chooses; worker threads ask it, which Hypothesis itself does not allow.

    Attributes:
        exchanges: What was asked and answered.
    """

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random
        self._next = 5000
        self.exchanges: list[Exchange] = []

    def send(self, request: requests.PreparedRequest, *_args: Any, **_options: Any) -> requests.Response:
        parts = urlsplit(str(request.url))
        path = parts.path.partition("/api/v4/")[2]
        sent = json.loads(request.body) if request.body else None
        right = self._right(str(request.method), path, parse_qs(parts.query), sent)
        how = self._random.choice(HOW)
        status = 200 if how == "right" else self._random.choice(STATUSES)
        if how == "none":
            self.exchanges.append(Exchange(str(request.method), path, sent, 0, b""))
            failure = self._random.choice(FAILURES)()
            raise failure
        body = self._spoilt(how, right)
        self.exchanges.append(Exchange(str(request.method), path, sent, status, body))
        return self.response(request, status, {} if how == "right" else self._random.choice(HEADERS), body)

    def close(self) -> None:
        """Nothing is open."""

    @staticmethod
    def response(
        request: requests.PreparedRequest, status: int, headers: dict[str, str], body: bytes
    ) -> requests.Response:
        """What the session makes its answer of."""
        raw = urllib3.HTTPResponse(io.BytesIO(body), headers, status, preload_content=False)
        response = requests.Response()
        response.status_code, response.raw, response.request = status, raw, request
        response.headers = requests.structures.CaseInsensitiveDict(headers)
        response.url = str(request.url)
        return response

    # ---- the right answer --------------------------------------------------------------------------------

    def _right(self, verb: str, path: str, query: dict[str, list[str]], sent: Any) -> Any:
        key = path.rpartition("/")[2] if not path[-1].isdigit() else path.split("/")[-2]
        if path == "account":
            zone = {"datetime_settings": {"timezone": "Europe/Moscow"}}
            return {"id": 1, "subdomain": "x", "name": "x", "current_user_id": 2, "_embedded": zone}
        if verb == "GET":
            ids = [int(number) for number in query.get("filter[id][]", ())] or [9, 8, 7]
            rows = [self._row(key, number) for number in ids]
            return rows[0] if path[-1].isdigit() else {"_embedded": {key: rows}, "_links": {}}
        if key in {"link", "unlink"}:
            return {"_embedded": {"links": sent}}
        rows = sent if isinstance(sent, list) else [sent]
        named = [{"id": row.get("id") or self._number(), "request_id": row.get("request_id")} for row in rows]
        return {"_embedded": {key: named}, "_links": {}}

    def _number(self) -> int:
        self._next += 1
        return self._next

    @staticmethod
    def _row(key: str, number: int) -> dict[str, Any]:
        text = {"value": "IDENT-u-P-1", "enum_id": 1}
        row: dict[str, Any] = {
            "id": number, "name": "Иванов1", "first_name": "", "last_name": "Иванов1", "updated_at": 1_700_000_000,
            "responsible_user_id": 5, "is_deleted": False, "price": 100, "pipeline_id": 100, "status_id": 101,
            "custom_fields_values": [
                {"field_id": 1, "values": [{"value": "+79000000001", "enum_code": "MOB"}]},
                {"field_id": 3, "values": [{"value": "Москва"}]},
                {"field_id": 4, "values": [{"value": 1_773_302_400}]},
                {"field_id": 5, "values": [{"value": "Петров Пётр"}]},
                {"field_id": 9, "values": [text]},
            ],
            "type": "text", "code": "X", "sort": 1, "is_api_only": False, "enums": [{"id": 1, "value": "a", "sort": 1}],
            "rights": {"is_active": True, "is_admin": True}, "is_main": True, "is_archive": False, "note_type": "common",
            "params": {"text": "Приём перенесён"},
            "_embedded": {
                "tags": [{"id": 1, "name": "IDENT"}], "contacts": [{"id": 7, "is_main": True}], "leads": [{"id": 8}],
                "statuses": [{"id": 142, "name": "Да", "sort": 10, "type": 0, "color": "#fff"}],
            },
        }  # fmt: skip
        return row | ({"custom_fields_values": None} if key == "users" else {})

    # ---- what becomes of it ------------------------------------------------------------------------------

    def _spoilt(self, how: str, right: Any) -> bytes:
        if how == "document":
            return bytes(self._random.choice(DOCUMENTS))
        body = copy.deepcopy(right)
        if how in {"replaced", "dropped", "doubled", "turned"}:
            body = self._changed(how, {"": body})[""]
        text = json.dumps(body).encode()
        return text[: self._random.randrange(len(text))] if how == "cut" else text

    def _changed(self, how: str, whole: dict[str, Any]) -> dict[str, Any]:
        holder, key = self._random.choice(_places(whole))
        value = holder[key]
        if how == "replaced":
            holder[key] = self._random.choice(JUNK)
        elif how == "dropped" and holder is not whole:
            del holder[key]
        elif how == "doubled":
            holder[key] = [value, value] if not isinstance(value, list) else value * 2
        else:
            holder[key] = list(value.values()) if isinstance(value, dict) else {"0": value}
        return whole


def _places(node: Any) -> list[tuple[Any, Any]]:
    """Every value inside, as its holder and its key there."""
    inner = (
        list(node.items())
        if isinstance(node, dict)
        else list(enumerate(node))
        if isinstance(node, list)
        else []
    )
    return [place for key, value in inner for place in ((node, key), *_places(value))]
