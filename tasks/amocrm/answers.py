"""Reading an answer: what it holds, and the error it amounts to, without repeating its values."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import requests

from tasks.amocrm.error_table import Body, Failure, Rule
from tasks.errors import FieldProblem, IdentAmocrmError, ValidationRejectedError

__all__ = ["Answer", "Json", "error_of", "moment", "read_answer"]

Json = dict[str, Any]
#: What a code, a path or a request id looks like; anything else might be a value.
IDENTIFIER = re.compile(r"[A-Za-z0-9_.:\-]{1,128}")
#: So many digits in a code or a path are a phone, unless it is one of the codes of the framework below.
PHONE_DIGITS = 7
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
ROW = re.compile(r"[a-z]{1,20}|[0-9]{1,10}")
#: IDENT numbers its rows up to here; a Russian phone without its country code is larger.
HIGHEST_ROW = 2**31 - 1
#: An escape of half a character: alone it is no text, and cannot be stored or hashed.
HALF = re.compile(rb"\\u[dD][89a-fA-F]")
PROBLEMS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        happened: HTTP status, or why there is none.
        body: Kind of the body; ``None`` without an answer.
        data: The body as read.
        request_id: amoCRM's ``X-Request-Id``, which its support asks for.
        retry_after: Seconds that amoCRM asks us to wait.
    """

    happened: int | Failure
    body: Body | None = None
    data: Json | None = None
    request_id: str = "-"
    retry_after: float | None = None


def read_answer(response: requests.Response) -> Answer:
    """Read a response."""
    data, kind = _body(response)
    return Answer(
        response.status_code,
        kind,
        data,
        _fitting(IDENTIFIER, response.headers.get("X-Request-Id")) or "-",
        _retry_after(response.headers.get("Retry-After", "")),
    )


def error_of(rule: Rule, answer: Answer, request: str, *, base_url: str, host: str) -> IdentAmocrmError:
    """Return the error that a rule makes of an answer.

    Args:
        rule: The line of the table.
        answer: What came back.
        request: Method and path.
        base_url: The account's address.
        host: Its host and port.
    """
    facts = request
    if not isinstance(answer.happened, Failure):
        facts = f"{request}: status {answer.happened}, X-Request-Id {answer.request_id}"
    what = rule.problem.format(host=host)
    remedy = rule.remedy.format(base_url=base_url)
    if rule.error is ValidationRejectedError:
        problems = _problems(answer.data or {})
        shown = "; ".join(
            f"{problem.request_id}: {problem.code} at {problem.path}" for problem in problems[:PROBLEMS_SHOWN]
        )
        problem = f"{what} ({facts}; {shown or 'no entity named'})."
        return ValidationRejectedError(problem=problem, remedy=remedy, problems=problems)
    return rule.error(problem=f"{what} ({facts}).", remedy=remedy, code=rule.code)


def _body(response: requests.Response) -> tuple[Json | None, Body]:
    if not response.content.strip():
        return None, Body.EMPTY
    try:
        # response.json() would guess the encoding from the header; JSON is UTF-8.
        data = json.loads(response.content)
        if HALF.search(response.content):
            data = json.loads(json.dumps(data, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None, Body.FOREIGN
    return (data, Body.JSON) if isinstance(data, dict) else (None, Body.FOREIGN)


def _fitting(pattern: re.Pattern[str], text: object) -> str:
    """Return a code, path or id; nothing if it could be a value."""
    candidate = str(text) if isinstance(text, str | int) else ""
    return candidate if pattern.fullmatch(candidate) else ""


def _name(text: object) -> str:
    """Return a code or a path; nothing if it could be a value, a phone number say."""
    name = _fitting(IDENTIFIER, text)
    digits = sum(sign.isdigit() for sign in name)
    return name if digits < PHONE_DIGITS or UUID.fullmatch(name) else ""


def _row(request_id: object) -> str:
    """Return which row of ours a complaint is about; nothing if it could be a value."""
    row = _fitting(ROW, request_id)
    return "" if row.isdigit() and int(row) > HIGHEST_ROW else row


def _problems(data: Json) -> tuple[FieldProblem, ...]:
    """Return amoCRM's complaints; its ``detail`` is left out, because it may echo values."""
    return tuple(
        FieldProblem(_row(row.get("request_id")), _name(item.get("code")), _name(item.get("path")))
        for row in _dicts(data.get("validation-errors"))
        for item in _dicts(row.get("errors"))
    )


def _dicts(value: object) -> list[Json]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _retry_after(text: str) -> float | None:
    """Read ``Retry-After``: amoCRM does not document it, HTTP allows seconds and a date."""
    try:
        seconds = float(text)
    except ValueError:
        until = moment(text)
        seconds = 0.0 if until is None else (until - datetime.now(tz=UTC)).total_seconds()
    return seconds if math.isfinite(seconds) and seconds > 0 else None


def moment(text: str) -> datetime | None:
    """Return the time that a header tells, in UTC; ``None`` for what is none."""
    try:
        told = parsedate_to_datetime(text)
        return (told if told.tzinfo else told.replace(tzinfo=UTC)).astimezone(UTC)
    except (IndexError, OverflowError, TypeError, ValueError):
        return None
