"""Answers in amoCRM's two dialects: HAL for success, problem+json for failure."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from deployments.sandbox.amocrm.model import Json

TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    422: "Unprocessable Entity",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


class HalResponse(JSONResponse):
    """A successful answer."""

    media_type = "application/hal+json"


class ProblemResponse(JSONResponse):
    """A failed answer."""

    media_type = "application/problem+json"


class ApiProblemError(Exception):
    """A request amoCRM would refuse, with the body it would send."""

    def __init__(self, status: int, detail: str, *, errors: list[Json] | None = None) -> None:
        super().__init__(f"{status} {detail}")
        self.status = status
        self.detail = detail
        self.errors = errors

    def body(self) -> Json:
        """Build the problem+json body; validation errors come first, as in real answers."""
        return problem_body(self.status, self.detail, self.errors)


def problem_body(status: int, detail: str, errors: list[Json] | None = None) -> Json:
    """Build a problem+json body."""
    head: Json = {"validation-errors": errors} if errors else {}
    return head | {
        "title": TITLES.get(status, "Error"),
        "type": f"https://httpstatus.es/{status}",
        "status": status,
        "detail": detail,
    }


def html_page(status: int) -> bytes:
    """Render the bare page the web front sends instead of the API."""
    title = f"{status} {TITLES.get(status, 'OK')}"
    return (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
        "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    ).encode()


def empty() -> Response:
    """Answer 204: nothing found, or nothing to say."""
    return Response(status_code=204)


def hal(body: Json, status: int = 200) -> HalResponse:
    """Answer with a HAL body."""
    return HalResponse(body, status_code=status)


async def read_json(request: Request) -> Any:
    """Read the request body, or refuse it the way the API does."""
    try:
        return json.loads(await request.body())
    except ValueError:
        raise ApiProblemError(400, "Invalid JSON in the request body") from None


async def read_array(request: Request, *, most: int = 250) -> list[Any]:
    """Read a body that has to be a JSON array of at most `most` items."""
    body = await read_json(request)
    if not isinstance(body, list):
        raise ApiProblemError(400, "The request body should be of type array")
    if not body or len(body) > most:
        raise ApiProblemError(400, f"The request body should contain from 1 to {most} items")
    return body


def api_url(request: Request, path: str) -> str:
    """Absolute address of an API resource, on the host the client used."""
    return f"{request.url.scheme}://{request.url.netloc}/api/v4/{path}"


def self_link(request: Request, path: str) -> Json:
    """Build the `_links` of one resource."""
    return {"self": {"href": api_url(request, path)}}
