"""OAuth: an access token that lasts a day, and a refresh token that may be handed in once.

Whoever hands a refresh token in and loses the answer has lost the authorisation. Hence the order of things,
under a lock that all processes of the installation share:

1. read the stored tokens again: another process may have renewed them;
2. store that this refresh token is being handed in (which also proves that the store can be written);
3. hand it in;
4. store the new tokens, and only then use them.

A process that dies between 3 and 4 leaves the mark of step 2 behind. The next one does not hand the token in
again, but goes on with the access token while it lasts: amoCRM voids the old access token when it gives out a
new one, so one that is still accepted tells that the refresh did not happen, and it may be repeated.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from filelock import FileLock
from pydantic import SecretStr

from tasks.amocrm.answers import Answer
from tasks.amocrm.error_table import Rule
from tasks.amocrm.token_endpoint import (
    SECOND_REFUSAL,
    Integration,
    TokenEndpoint,
    Tokens,
    reauthorisation,
    wall_clock,
)
from tasks.errors import AuthenticationError, ConfigurationError, IdentAmocrmError, TransientError

__all__ = ["Authorisation", "MachinesLock", "OAuthTokens", "TokenStore", "authorisation_lock"]

_log = logging.getLogger(__name__)
#: How long before its end an access token is renewed: at most this, for a short-lived one a part of its life.
AHEAD, AHEAD_SHARE = timedelta(minutes=15), 0.25
#: A server that lost its own answer may still be at work on it for this long.
SETTLED = timedelta(seconds=60)
#: Whoever holds the lock may be repeating a request; longer than that it does not take.
LOCK_SECONDS = 240.0
#: Pauses between attempts to store new tokens, which exist nowhere else.
STORE_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)


@dataclass(frozen=True, slots=True)
class Authorisation:
    """What is stored of an authorised integration.

    Attributes:
        integration: What amoCRM knows it by.
        tokens: The latest ones.
        handed_in: Mark of the refresh token while it is handed in; empty otherwise.
        handed_in_at: When that was.
    """

    integration: Integration
    tokens: Tokens
    handed_in: str = ""
    handed_in_at: datetime | None = None

    @property
    def renew_at(self) -> datetime:
        """When the access token is to be renewed."""
        tokens = self.tokens
        return tokens.expires_at - min(AHEAD, (tokens.expires_at - tokens.obtained_at) * AHEAD_SHARE)

    @property
    def mark(self) -> str:
        """Mark of what would be handed in: a correction of the integration makes another one."""
        parts = (
            self.integration.client_id,
            self.integration.client_secret.get_secret_value(),
            self.integration.redirect_uri,
            self.tokens.refresh_token.get_secret_value(),
        )
        return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()

    @property
    def is_doubtful(self) -> bool:
        """Whether its refresh token was handed in and no new tokens came of it."""
        return self.handed_in == self.mark


class TokenStore(Protocol):
    """Where the authorisation lies, for all processes."""

    def load(self) -> Authorisation:
        """Return the authorisation.

        Raises:
            TransientError: When the store does not answer.
        """

    def save(self, authorisation: Authorisation) -> None:
        """Store the authorisation; returns when it is durable.

        Raises:
            TransientError: When that is not certain.
        """


class MachinesLock(Protocol):
    """A lock that processes of several machines share."""

    def acquire(self, timeout: float) -> object:
        """Take it.

        Raises:
            TimeoutError: When another process holds it for so many seconds.
        """

    def release(self) -> object:
        """Give it back."""


@contextmanager
def authorisation_lock(place: Path | MachinesLock, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Keep all other processes of the installation from changing the authorisation.

    Args:
        place: The file that those of this machine lock, or the lock of several machines.
        seconds: How long to wait for it.

    Raises:
        TransientError: When another process holds it for too long.
        ConfigurationError: When the file cannot be locked.
    """
    lock: MachinesLock = FileLock(place, mode=0o600) if isinstance(place, Path) else place
    try:
        lock.acquire(timeout=seconds)
    except TimeoutError:
        raise TransientError(
            problem="Another process has been renewing amoCRM's token for minutes.",
            remedy="Nothing is lost: the next run tries again.",
            code="token_locked",
        ) from None
    except OSError as error:
        raise ConfigurationError(
            problem=f"The file {place} cannot be locked ({type(error).__name__}).",
            remedy="Make the installation's folder (IDENT_AMOCRM_HOME) writable; no token was handed in.",
            code="home_not_writable",
        ) from None
    try:
        yield
    finally:
        lock.release()


class OAuthTokens:
    """The access token of an authorised integration, renewed ahead of its end and after a 401.

    Args:
        store: Where the authorisation lies.
        endpoint: Where a refresh token is handed in.
        lock: File that all processes of the installation lock, or the lock of several machines.
        now: Wall clock.
        sleep: How to wait.
    """

    def __init__(
        self,
        store: TokenStore,
        endpoint: TokenEndpoint,
        lock: Path | MachinesLock,
        *,
        now: Callable[[], datetime] = wall_clock,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._store, self._endpoint, self._lock = store, endpoint, lock
        self._now, self._sleep = now, sleep
        self._threads = threading.Lock()
        self._known: Authorisation | None = None
        self._unstored: Authorisation | None = None  # new tokens that the store has not taken yet
        self._unused = ""  # mark of a refresh token that was proven not to be used up
        self._quiet_until = datetime.min.replace(tzinfo=UTC)

    def __repr__(self) -> str:
        return f"OAuthTokens({self._endpoint.base_url!r})"

    # ---- a source of tokens ----------------------------------------------------------------------------

    def current(self) -> SecretStr:
        """Return the access token, renewed where its end is near.

        Raises:
            IdentAmocrmError: When there is none that could be accepted.
        """
        with self._threads:
            known = self._known = self._known or self._store.load()
            if self._unstored or self._now() >= max(known.renew_at, self._quiet_until):
                known = self._renew(known, refused=False)
            return known.tokens.access_token

    def replace(self, refused: SecretStr) -> bool:
        """Get another access token after a 401.

        Raises:
            IdentAmocrmError: When there is none.
        """
        with self._threads:
            known = self._known
            if known is not None and known.tokens.access_token == refused:  # else another thread was here
                self._renew(known, refused=True)
            return True

    def accepted(self, token: SecretStr) -> None:
        """Hear that a token works: a refresh of doubtful outcome then did not happen."""
        known = self._known
        if known is None or not known.is_doubtful or known.tokens.access_token != token:
            return
        if known.handed_in_at is not None and self._now() >= known.handed_in_at + SETTLED:
            self._unused = known.mark

    def explain(self, answer: Answer) -> Rule | None:  # noqa: ARG002 - there is one explanation
        """Tell what it means that a renewed token is refused."""
        return SECOND_REFUSAL

    # ---- renewing --------------------------------------------------------------------------------------

    def _renew(self, before: Authorisation, *, refused: bool) -> Authorisation:
        """Return what the next request is sent with.

        Args:
            before: What this process knew.
            refused: Whether amoCRM refused that access token; without it, it is still good for a while.
        """
        with authorisation_lock(self._lock):
            if self._unstored is not None:
                return self._kept(self._unstored)
            latest = self._known = self._store.load()
            changed = latest.tokens.access_token != before.tokens.access_token
            if changed and self._now() < latest.renew_at:
                return latest
            usable = self._now() < latest.tokens.expires_at and (changed or not refused)
            if latest.is_doubtful and latest.mark != self._unused:
                if not usable:
                    raise reauthorisation(self._endpoint.base_url)
                return self._unrenewed(latest)
            return self._refreshed(latest, usable=usable)

    def _refreshed(self, latest: Authorisation, *, usable: bool) -> Authorisation:
        """Hand the refresh token in."""
        marked = replace(latest, handed_in=latest.mark, handed_in_at=self._now())
        self._store.save(marked)
        self._known = marked
        try:
            tokens = self._endpoint.refresh(latest.integration, latest.tokens.refresh_token)
        except AuthenticationError as error:
            return self._after_doubt(marked, error, usable=usable)
        except IdentAmocrmError as error:
            # It was certainly not used up: the mark would make the next process give up for nothing.
            self._known = replace(latest, handed_in="", handed_in_at=None)
            self._store.save(self._known)
            if not usable:
                raise
            _log.warning("amoCRM's token is not renewed yet (%s); it is still accepted.", error.code)
            return self._unrenewed(self._known)
        return self._kept(Authorisation(latest.integration, tokens))

    def _after_doubt(
        self, marked: Authorisation, error: AuthenticationError, *, usable: bool
    ) -> Authorisation:
        """Go on after a refresh token was handed in for nothing."""
        latest = self._store.load()
        if latest.tokens.access_token != marked.tokens.access_token:
            self._known = latest  # a person has authorised the integration anew meanwhile
            return latest
        if not usable:
            raise error
        _log.warning("amoCRM's token was not renewed (%s); the old one tells what became of it.", error.code)
        return self._unrenewed(marked)

    def _unrenewed(self, authorisation: Authorisation) -> Authorisation:
        """Go on with a token that should be renewed, without asking the store at each request."""
        self._quiet_until = self._now() + SETTLED
        return authorisation

    def _kept(self, fresh: Authorisation) -> Authorisation:
        """Store new tokens, with patience: they exist nowhere else, and used before they would be lost."""
        self._unstored = fresh
        for pause in (*STORE_PAUSES, None):
            try:
                self._store.save(fresh)
                break
            except TransientError as error:
                if pause is None:
                    raise
                _log.warning("amoCRM's new token cannot be stored yet (%s).", error.code)
                self._sleep(pause)
        self._known, self._unstored, self._unused = fresh, None, ""
        return fresh
