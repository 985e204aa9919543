"""The account behind the token, and its users."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tasks.amocrm import entities
from tasks.amocrm.client import AmoClient
from tasks.errors import UnexpectedAnswerError
from tasks.records import Account, User

__all__ = ["read_account", "read_users"]


def read_account(client: AmoClient) -> Account:
    """Read the account; the cheapest way to learn whether address and token work.

    Raises:
        UnexpectedAnswerError: When something else than amoCRM answers.
    """
    answer = client.get("account", {"with": "datetime_settings"})
    try:
        return entities.parsed(answer or {}, _account, "GET account")
    except UnexpectedAnswerError:
        raise UnexpectedAnswerError(
            problem=f"{client.base_url} answers, but not as an amoCRM account.",
            remedy="Check the account's address: https://NAME.amocrm.ru",
        ) from None


def read_users(client: AmoClient) -> list[User]:
    """Read the account's users."""
    return [
        entities.parsed(row, _user, "GET users")
        for row in entities.rows(client, "users", "users", {"limit": entities.PAGE})
    ]


def _account(row: dict[str, Any]) -> Account:
    zone = entities.text(row["_embedded"]["datetime_settings"]["timezone"])
    _refuse_unknown(zone)
    return Account(
        id=entities.row_id(row),
        subdomain=entities.text(row["subdomain"]),
        name=entities.text(row["name"]),
        current_user_id=entities.whole(row["current_user_id"]),
        timezone=zone,
        name_order=entities.whole(row.get("contact_name_display_order")) or 1,
    )


def _refuse_unknown(zone: str) -> None:
    """Dates are computed in it: an unknown one must not come out in the middle of a run."""
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, OSError):
        raise ValueError from None


def _user(row: dict[str, Any]) -> User:
    rights = row.get("rights") or {}
    return User(
        id=entities.row_id(row),
        name=entities.text(row["name"]),
        is_active=bool(rights.get("is_active")),
        is_admin=bool(rights.get("is_admin")),
    )
