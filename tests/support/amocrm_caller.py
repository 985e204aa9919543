"""The smallest possible API client, for tests of the stand-in amoCRM."""

from __future__ import annotations

from typing import Any

import requests

from deployments.sandbox.amocrm.server import StandIn


class Caller:
    """The smallest possible API client."""

    def __init__(self, stand_in: StandIn) -> None:
        self.base = f"{stand_in.url}/api/v4/"
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Authorization"] = f"Bearer {stand_in.token}"

    def call(self, method: str, path: str, body: Any = None) -> requests.Response:
        return self.session.request(method, self.base + path, json=body, timeout=10)

    def get(self, path: str) -> Any:
        answer = self.call("GET", path)
        assert answer.status_code in {200, 204}, answer.text
        return answer.json() if answer.content else None

    def send(self, method: str, path: str, body: Any) -> Any:
        answer = self.call(method, path, body)
        assert answer.status_code in {200, 201}, answer.text
        return answer.json()

    def errors(self, method: str, path: str, body: Any) -> list[dict[str, Any]]:
        answer = self.call(method, path, body)
        assert answer.status_code == 400
        assert answer.headers["Content-Type"] == "application/problem+json"
        found: list[dict[str, Any]] = answer.json()["validation-errors"]
        return found

    def contacts(self, *items: dict[str, Any]) -> list[int]:
        rows = self.send("POST", "contacts", list(items))["_embedded"]["contacts"]
        return [row["id"] for row in rows]

    def leads(self, *items: dict[str, Any]) -> list[int]:
        rows = self.send("POST", "leads", list(items))["_embedded"]["leads"]
        return [row["id"] for row in rows]

    def field(self, kind: str, type_: str, **more: Any) -> dict[str, Any]:
        item = {"name": f"Поле {type_}", "type": type_, **more}
        (row,) = self.send("POST", f"{kind}/custom_fields", [item])["_embedded"]["custom_fields"]
        assert isinstance(row, dict)
        return row


def values_of(card: dict[str, Any]) -> dict[int, Any]:
    return {row["field_id"]: row["values"] for row in card["custom_fields_values"] or []}


def paths(errors: list[dict[str, Any]]) -> dict[str, list[tuple[str, str]]]:
    return {one["request_id"]: [(error["code"], error["path"]) for error in one["errors"]] for one in errors}
