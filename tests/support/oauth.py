"""OAuth tokens in a file, and what a process does with them: see ``tests/amocrm/test_amo_oauth_processes.py``."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from tasks.amocrm.authorisation import Authorisation, OAuthTokens
from tasks.amocrm.client import AmoClient
from tasks.amocrm.pacing import Pacer
from tasks.amocrm.token_endpoint import Integration, TokenEndpoint, Tokens
from tasks.errors import IdentAmocrmError
from tasks.settings import Settings

if TYPE_CHECKING:
    from deployments.sandbox.amocrm.server import StandIn  # seconds more for each process that is started

LIMITS: dict[str, Any] = {"read_timeout": 5.0, "connect_timeout": 2.0}


class FileStore:
    """Keeps an authorisation in a file, durably."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> Authorisation:
        found = json.loads(self.path.read_text(encoding="utf-8"))
        dates = {name: value and datetime.fromisoformat(value) for name, value in found["dates"].items()}
        return Authorisation(
            Integration(found["client_id"], SecretStr(found["client_secret"]), found["redirect_uri"]),
            Tokens(
                SecretStr(found["access_token"]),
                SecretStr(found["refresh_token"]),
                dates["obtained_at"],
                dates["expires_at"],
            ),
            found["handed_in"],
            dates["handed_in_at"],
        )

    def save(self, authorisation: Authorisation) -> None:
        integration, tokens = authorisation.integration, authorisation.tokens
        handed_in_at = authorisation.handed_in_at
        text = json.dumps(
            {
                "client_id": integration.client_id,
                "client_secret": integration.client_secret.get_secret_value(),
                "redirect_uri": integration.redirect_uri,
                "access_token": tokens.access_token.get_secret_value(),
                "refresh_token": tokens.refresh_token.get_secret_value(),
                "handed_in": authorisation.handed_in,
                "dates": {
                    "obtained_at": tokens.obtained_at.isoformat(),
                    "expires_at": tokens.expires_at.isoformat(),
                    "handed_in_at": handed_in_at and handed_in_at.isoformat(),
                },
            }
        )
        fresh = self.path.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path)


class DeadlyStore(FileStore):
    """Kills its process at one moment of a renewal."""

    def __init__(self, path: Path, moment: str) -> None:
        super().__init__(path)
        self.moment = moment

    def save(self, authorisation: Authorisation) -> None:
        marking = bool(authorisation.handed_in)
        if self.moment == "before the tokens are stored" and not marking:
            os.kill(os.getpid(), signal.SIGKILL)
        super().save(authorisation)
        if self.moment == ("when handing in is noted" if marking else "after the tokens are stored"):
            os.kill(os.getpid(), signal.SIGKILL)


def integration_of(crm: StandIn) -> Integration:
    keys = crm.admin("oauth")
    return Integration(keys["client_id"], SecretStr(keys["client_secret"]), keys["redirect_uri"])


def authorised(crm: StandIn) -> Authorisation:
    """Return the authorisation that a code just brought."""
    endpoint = TokenEndpoint(crm.url, settings=Settings(**LIMITS), pacer=Pacer(1000))
    integration = integration_of(crm)
    code = SecretStr(crm.admin("oauth/code", {})["code"])
    return Authorisation(integration, endpoint.exchange_code(integration, code))


def near_its_end(authorisation: Authorisation) -> Authorisation:
    """Return an authorisation whose access token is to be renewed, and still lasts a minute."""
    now = datetime.now(tz=UTC)
    tokens = replace(
        authorisation.tokens,
        obtained_at=now - timedelta(hours=23, minutes=59),
        expires_at=now + timedelta(minutes=1),
    )
    return replace(authorisation, tokens=tokens)


def main(url: str, folder: str, moment: str) -> None:
    """Read the account once, when told to; say what came of it."""
    home = Path(folder)
    settings = Settings(home=home, **LIMITS)
    pacer = Pacer(7, home / "pace")
    endpoint = TokenEndpoint(url, settings=settings, pacer=pacer)
    tokens = OAuthTokens(DeadlyStore(home / "tokens", moment), endpoint, home / "lock")
    client = AmoClient(url, tokens, settings=settings, pacer=pacer)
    tokens.current() if moment == "race" else None  # both know the same token before either renews it
    _say("ready")
    sys.stdin.readline()
    try:
        answer = client.get("account")
        _say(json.dumps({"account": (answer or {})["id"]}))
    except IdentAmocrmError as error:
        _say(json.dumps({"error": error.code, "text": str(error)}))


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
