"""The account's block: which way to amoCRM it describes, and what the health check announces about it."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from deployments.cli.connect import connect_amocrm
from tasks import blocks
from tasks.amocrm.authorisation import OAuthTokens
from tasks.amocrm.pacing import Pacer
from tasks.amocrm.token import FixedToken
from tasks.amocrm.token_endpoint import Integration, Tokens
from tasks.authorisation import BlockTokenStore, account_of, authorisation_of, token_source, token_warning
from tasks.blocks import AmoCrmAccount
from tasks.errors import ConfigurationError, TransientError
from tasks.hints import HINTS
from tasks.ledger.store import Ledger
from tasks.settings import Settings

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
INTEGRATION = Integration("id", SecretStr("secret"), "https://clinic.example")


def oauth(age: timedelta = timedelta(), **changes: Any) -> AmoCrmAccount:
    obtained_at = NOW - age
    tokens = Tokens(SecretStr("a1"), SecretStr("r1"), obtained_at, obtained_at + timedelta(days=1))
    account = account_of("https://clinic.example", INTEGRATION, tokens)
    return account.model_copy(update=changes)


def jwt(expires_at: datetime) -> SecretStr:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": expires_at.timestamp()}).encode()).decode()
    return SecretStr(f"e30.{claims.rstrip('=')}.sig")


def long_lived(expires_in: timedelta) -> AmoCrmAccount:
    return AmoCrmAccount(base_url="https://clinic.example", token=jwt(NOW + expires_in))


@pytest.mark.parametrize(
    ("account", "code"),
    [
        (long_lived(timedelta(days=15)), ""),
        (long_lived(timedelta(days=13)), "token_expires"),
        (AmoCrmAccount(base_url="https://clinic.example", token=SecretStr("opaque")), ""),
        (oauth(), ""),
        (oauth(timedelta(days=75)), ""),
        (oauth(timedelta(days=77)), "refresh_token_expires"),
        (oauth(obtained_at=None), ""),
        (oauth(handed_in="of another token", handed_in_at=NOW - timedelta(days=1)), ""),
    ],
)
def test_what_is_announced(account: AmoCrmAccount, code: str) -> None:
    assert token_warning(account, NOW) == code
    assert not code or code in HINTS


def test_a_renewal_that_came_to_nothing_is_announced() -> None:
    mark = authorisation_of(oauth()).mark
    began: dict[str, Any] = {"handed_in": mark, "handed_in_at": NOW - timedelta(minutes=1)}
    assert token_warning(oauth(**began), NOW) == ""  # it may be under way
    assert token_warning(oauth(**began), NOW + timedelta(minutes=5)) == "reauthorise"


def test_a_long_lived_token_goes_first(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    ledger = Ledger(settings.ledger_url)
    assert isinstance(token_source(oauth(), ledger, settings, Pacer(5)), OAuthTokens)
    assert isinstance(token_source(oauth(token=SecretStr("t")), ledger, settings, Pacer(5)), FixedToken)


def test_typed_in_by_hand_a_token_is_renewed_at_once_unless_it_says_how_long_it_lasts() -> None:
    typed = authorisation_of(oauth(obtained_at=None, expires_at=None))
    assert typed.renew_at < NOW
    telling = authorisation_of(oauth(obtained_at=None, expires_at=None, access_token=jwt(NOW)))
    assert telling.tokens.expires_at == NOW
    assert telling.renew_at == NOW - timedelta(minutes=15)


def test_the_block_keeps_what_else_stands_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[AmoCrmAccount] = [oauth(base_url="https://renamed.example")]

    def latest() -> AmoCrmAccount:
        return kept[-1].model_copy()

    monkeypatch.setattr(blocks, "load_account", latest)
    monkeypatch.setattr(blocks, "save_account", kept.append)
    store = BlockTokenStore()
    found = store.load()
    store.save(replace(found, handed_in=found.mark, handed_in_at=NOW))
    assert store.load().is_doubtful
    assert kept[-1].base_url == "https://renamed.example"


@pytest.mark.parametrize("verb", ["load", "save"])
def test_a_silent_prefect_is_no_reason_to_lose_a_token(monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    def silent() -> AmoCrmAccount:
        message = "http://127.0.0.1/api: nobody there"
        raise httpx.ConnectError(message)

    monkeypatch.setattr(blocks, "load_account", silent)
    store = BlockTokenStore()
    with pytest.raises(TransientError) as caught:
        store.load() if verb == "load" else store.save(authorisation_of(oauth()))
    assert caught.value.code == "prefect_unavailable"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"client_id": "id", "redirect_uri": "uri", "auth_code_file": Path("code")},
        {"token_file": Path("token"), "client_id": "id"},
        {
            "token_file": Path("token"),
            "client_id": "id",
            "redirect_uri": "uri",
            "auth_code_file": Path("code"),
            "client_secret_file": Path("secret"),
        },
    ],
)
def test_one_way_to_the_account_has_to_be_chosen(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        connect_amocrm("https://clinic.example", **options)
    assert caught.value.code == "access_options"
    assert "--auth-code-file" in caught.value.remedy
