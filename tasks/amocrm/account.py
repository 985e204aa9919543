"""The account behind the token, and its users."""

from __future__ import annotations

from typing import Any

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
        answer = answer or {}
        return Account(
            id=int(answer["id"]),
            subdomain=str(answer["subdomain"]),
            name=str(answer["name"]),
            current_user_id=int(answer["current_user_id"]),
            timezone=str(answer["_embedded"]["datetime_settings"]["timezone"]),
            name_order=int(answer.get("contact_name_display_order") or 1),
        )
    except (KeyError, TypeError, ValueError):
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


def _user(row: dict[str, Any]) -> User:
    rights = row.get("rights") or {}
    return User(
        id=int(row["id"]),
        name=str(row["name"]),
        is_active=bool(rights.get("is_active")),
        is_admin=bool(rights.get("is_admin")),
    )
