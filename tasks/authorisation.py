"""The token of the amoCRM account: a long-lived one, or OAuth tokens that are kept in the account's block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from prefect.exceptions import PrefectException

from tasks import blocks
from tasks.amocrm.authorisation import Authorisation, OAuthTokens
from tasks.amocrm.pacing import Pacer
from tasks.amocrm.token import FixedToken, TokenSource, token_expiry
from tasks.amocrm.token_endpoint import Integration, TokenEndpoint, Tokens
from tasks.blocks import AmoCrmAccount
from tasks.errors import TransientError
from tasks.ledger.shared import SharedLock
from tasks.ledger.store import Ledger
from tasks.settings import Settings

__all__ = ["BlockTokenStore", "account_of", "token_lock", "token_source", "token_warning"]

#: A refresh token that nobody uses is void after three months.
REFRESH_TOKEN_LIFE = timedelta(days=90)
WARNING = timedelta(days=14)
#: A renewal takes seconds; one that began so long ago came to nothing.
RENEWAL = timedelta(minutes=5)
TOKEN_LOCK = 7_203_916  # any number that no other lock of the ledger has
LONG_AGO = datetime.fromtimestamp(0, tz=UTC)


def token_lock(ledger: Ledger, settings: Settings) -> Path | SharedLock:
    """Return what whoever changes the tokens locks: of several machines, where the ledger is on a server."""
    if ledger.database.is_sqlite:
        return settings.prepare_home() / "amocrm-tokens.lock"
    return SharedLock(ledger.database, TOKEN_LOCK)


def account_of(base_url: str, integration: Integration, tokens: Tokens) -> AmoCrmAccount:
    """Return the block of an authorised integration."""
    return _filled(AmoCrmAccount(base_url=base_url), Authorisation(integration, tokens))


class BlockTokenStore:
    """Keeps the authorisation in the block «amoCRM Account»; once Prefect's API has answered, it is kept."""

    def load(self) -> Authorisation:
        """Return the authorisation.

        Raises:
            TransientError: When Prefect does not answer.
            NotConnectedError: When the block is not there.
        """
        with _prefect_errors():
            return authorisation_of(blocks.load_account())

    def save(self, authorisation: Authorisation) -> None:
        """Store the authorisation.

        Raises:
            TransientError: When Prefect does not confirm it.
            NotConnectedError: When the block is not there.
        """
        with _prefect_errors():
            # What else stands in the block may have been changed in the UI.
            blocks.save_account(_filled(blocks.load_account(), authorisation))


@contextmanager
def _prefect_errors() -> Iterator[None]:
    try:
        yield
    except (httpx.HTTPError, PrefectException) as error:
        raise TransientError(
            problem=f"Prefect, which keeps amoCRM's tokens, does not answer ({type(error).__name__}).",
            remedy="See whether ident-amocrm up is running; the next run tries again.",
            code="prefect_unavailable",
        ) from None


def authorisation_of(account: AmoCrmAccount) -> Authorisation:
    """Return what a block holds of an authorised integration; dates may be missing when it was typed in."""
    expires_at = account.expires_at or token_expiry(account.access_token) or LONG_AGO
    return Authorisation(
        Integration(account.client_id, account.client_secret, account.redirect_uri),
        Tokens(account.access_token, account.refresh_token, account.obtained_at or LONG_AGO, expires_at),
        account.handed_in,
        account.handed_in_at,
    )


def _filled(account: AmoCrmAccount, authorisation: Authorisation) -> AmoCrmAccount:
    integration, tokens = authorisation.integration, authorisation.tokens
    account.client_id = integration.client_id
    account.client_secret = integration.client_secret
    account.redirect_uri = integration.redirect_uri
    account.access_token, account.refresh_token = tokens.access_token, tokens.refresh_token
    account.obtained_at, account.expires_at = tokens.obtained_at, tokens.expires_at
    account.handed_in, account.handed_in_at = authorisation.handed_in, authorisation.handed_in_at
    return account


def token_source(account: AmoCrmAccount, ledger: Ledger, settings: Settings, pacer: Pacer) -> TokenSource:
    """Return where the account's requests get their token."""
    if not account.is_oauth:
        return FixedToken(account.token)
    endpoint = TokenEndpoint(account.base_url, settings=settings, pacer=pacer)
    return OAuthTokens(BlockTokenStore(), endpoint, token_lock(ledger, settings))


def token_warning(account: AmoCrmAccount, now: datetime) -> str:
    """Return the code of what is to be announced about a token; empty when all is well.

    Args:
        account: The account's block.
        now: The time.
    """
    if not account.is_oauth:
        expires_at = token_expiry(account.token)
        return "token_expires" if expires_at and expires_at - now < WARNING else ""
    authorisation = authorisation_of(account)
    if authorisation.is_doubtful and now - (authorisation.handed_in_at or LONG_AGO) > RENEWAL:
        return "reauthorise"
    obtained_at = account.obtained_at
    unused_too_long = obtained_at and obtained_at + REFRESH_TOKEN_LIFE - now < WARNING
    return "refresh_token_expires" if unused_too_long else ""
