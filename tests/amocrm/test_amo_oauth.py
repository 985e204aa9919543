"""OAuth tokens against the stand-in amoCRM: each refresh token is handed in once, whatever happens."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from deployments.sandbox.amocrm.server import StandIn
from tasks.amocrm.authorisation import Authorisation, OAuthTokens
from tasks.amocrm.client import AmoClient
from tasks.amocrm.pacing import Pacer
from tasks.amocrm.token_endpoint import Integration, TokenEndpoint
from tasks.errors import (
    AmoCrmUnavailableError,
    AuthenticationError,
    BlockedError,
    IdentAmocrmError,
    RateLimitedError,
    TransientError,
)
from tasks.settings import Settings
from tests.support.oauth import LIMITS, FileStore, authorised, integration_of, near_its_end

TOKEN_PATH = "/oauth2/access_token"
ACCOUNT_PATH = "/api/v4/account"
COMMAND = "ident-amocrm connect-amocrm --base-url"
#: The refresh happened, or did not, and its answer did not come.
HAPPENED = [
    {"mode": "drop_after"},
    {"mode": "truncate"},
    {"mode": "html", "status": 200, "when": "after"},
    {"mode": "status", "status": 504, "when": "after"},
]
NOT_HAPPENED: list[dict[str, Any]] = [
    {"mode": "drop_before"},
    {"mode": "status", "status": 503},
    {"mode": "html", "status": 502},
    {"mode": "status", "status": 408},
]
REFUSED_IN_FRONT: list[tuple[dict[str, Any], type[IdentAmocrmError]]] = [
    ({"mode": "html", "status": 403}, BlockedError),
    ({"mode": "status", "status": 429, "count": 99}, RateLimitedError),
]


@pytest.fixture(scope="module")
def running() -> Iterator[StandIn]:
    with StandIn(limit=None, index_lag=0) as crm:
        yield crm


@pytest.fixture
def crm(running: StandIn) -> StandIn:
    running.admin("reset", {})
    running.admin("settings", {"token_valid": True})
    return running


@pytest.fixture
def store(crm: StandIn, tmp_path: Path) -> FileStore:
    store = FileStore(tmp_path / "tokens")
    store.save(authorised(crm))
    crm.admin("stats/reset", {})
    return store


class Now:
    """The wall clock, moved at will."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(tz=UTC) + self.ahead


@pytest.fixture
def now() -> Now:
    return Now()


Open = Callable[..., AmoClient]


@pytest.fixture
def opened(crm: StandIn, store: FileStore, tmp_path: Path, now: Now, clock: Any) -> Iterator[Open]:
    """Open the account as a process that has just started does."""
    made: list[AmoClient] = []

    def build(kept: Any = store, url: str = "", **limits: Any) -> AmoClient:
        settings = Settings(home=tmp_path, **(LIMITS | limits))
        pacer = Pacer(1000, clock=clock, sleep=clock.sleep)
        endpoint = TokenEndpoint(
            url or crm.url, settings=settings, pacer=pacer, sleep=clock.sleep, clock=clock, now=now
        )
        tokens = OAuthTokens(kept, endpoint, tmp_path / "lock", now=now, sleep=clock.sleep)
        made.append(
            AmoClient(crm.url, tokens, settings=settings, pacer=pacer, sleep=clock.sleep, clock=clock)
        )
        return made[-1]

    yield build
    for client in made:
        client.close()


def requests(crm: StandIn, path: str) -> list[int]:
    """Status of each request of an address; 0 where none came back."""
    return [entry["status"] for entry in crm.admin("stats")["log"] if entry["path"] == path]


def expire(crm: StandIn) -> None:
    crm.admin("oauth/expire", {})


def fault(crm: StandIn, **described: Any) -> None:
    crm.admin("faults", {"path_prefix": TOKEN_PATH, **described})


# ---- the ordinary life of a token --------------------------------------------------------------------------


def test_a_token_is_used_while_it_lasts(crm: StandIn, opened: Open) -> None:
    client = opened()
    for _ in range(3):
        client.get("account")
    assert requests(crm, ACCOUNT_PATH) == [200, 200, 200]
    assert requests(crm, TOKEN_PATH) == []


@pytest.mark.parametrize("verb", ["get", "post"])
def test_after_a_401_it_is_renewed_and_the_request_is_sent_again(
    crm: StandIn, opened: Open, store: FileStore, verb: str
) -> None:
    before = store.load()
    expire(crm)
    client = opened()
    if verb == "get":
        assert client.get("account")
    else:
        assert client.post("contacts", [{"name": "Новый"}])
        assert len(crm.admin("dump")["contacts"]) == 1
    assert requests(crm, TOKEN_PATH) == [200]
    assert requests(crm, ACCOUNT_PATH if verb == "get" else "/api/v4/contacts") == [401, 200]
    after = store.load()
    assert after.tokens.refresh_token != before.tokens.refresh_token
    assert after.handed_in == ""


def test_it_is_renewed_ahead_of_its_end(crm: StandIn, opened: Open, now: Now) -> None:
    client = opened()
    client.get("account")
    now.ahead = timedelta(hours=23, minutes=44)
    client.get("account")
    assert requests(crm, TOKEN_PATH) == []
    now.ahead = timedelta(hours=23, minutes=46)
    client.get("account")
    assert requests(crm, TOKEN_PATH) == [200]
    assert requests(crm, ACCOUNT_PATH) == [200, 200, 200]  # amoCRM never had to refuse


def test_a_short_life_is_used_for_the_most_part(crm: StandIn, opened: Open, store: FileStore) -> None:
    crm.admin("oauth/settings", {"access_seconds": 600})
    store.save(authorised(crm))
    crm.admin("stats/reset", {})
    opened().get("account")
    assert requests(crm, TOKEN_PATH) == []


def test_a_token_that_another_process_renewed_is_taken_over(crm: StandIn, opened: Open, now: Now) -> None:
    first, second = opened(), opened()
    first.get("account")
    second.get("account")
    expire(crm)
    first.get("account")
    second.get("account")
    assert requests(crm, TOKEN_PATH) == [200]
    now.ahead = timedelta(hours=23, minutes=50)
    first.get("account")
    second.get("account")
    assert requests(crm, TOKEN_PATH) == [200, 200]
    assert requests(crm, ACCOUNT_PATH).count(401) == 2


def test_threads_of_one_client_refresh_once(crm: StandIn, opened: Open) -> None:
    client = opened()
    client.get("account")
    expire(crm)
    fault(crm, mode="slow", seconds=0.5)
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda: answers.append(client.get("account"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    assert all(answers)
    assert requests(crm, TOKEN_PATH) == [200]


def test_a_refused_new_token_is_final(crm: StandIn, opened: Open) -> None:
    crm.admin("settings", {"token_valid": False})
    with pytest.raises(AuthenticationError) as caught:
        opened().get("account")
    assert caught.value.code == "reauthorise"
    assert COMMAND in caught.value.remedy
    assert requests(crm, ACCOUNT_PATH) == [401, 401]
    assert requests(crm, TOKEN_PATH) == [200]


# ---- answers of the token endpoint ---------------------------------------------------------------------------


def test_a_code_works_once(crm: StandIn) -> None:
    endpoint = TokenEndpoint(crm.url, settings=Settings(**LIMITS), pacer=Pacer(1000))
    code = SecretStr(crm.admin("oauth/code", {})["code"])
    before = datetime.now(tz=UTC)
    tokens = endpoint.exchange_code(integration_of(crm), code)
    assert timedelta(hours=24) <= tokens.expires_at - before <= timedelta(hours=24, seconds=5)
    for wrong in (code, SecretStr("def502-not-a-code")):
        with pytest.raises(AuthenticationError) as caught:
            endpoint.exchange_code(integration_of(crm), wrong)
        assert caught.value.code == "reauthorise"
        assert "«Ключи и доступы»" in caught.value.remedy
        assert wrong.get_secret_value() not in str(caught.value)


@pytest.mark.parametrize("part", ["client_id", "client_secret", "redirect_uri"])
def test_a_wrong_integration_is_told_apart(crm: StandIn, opened: Open, store: FileStore, part: str) -> None:
    right = store.load()
    value: Any = SecretStr("wrong") if part == "client_secret" else "wrong"
    store.save(replace(right, integration=replace(right.integration, **{part: value})))
    expire(crm)
    for _ in range(2):
        with pytest.raises(AuthenticationError) as caught:
            opened().get("account")
    assert requests(crm, TOKEN_PATH) == [401]
    # Corrected in the block, it works at once: the mark is of the integration as it was.
    store.save(replace(store.load(), integration=right.integration))
    assert opened().get("account")
    assert caught.value.code == "reauthorise"


def test_a_wrong_integration_has_its_own_code(crm: StandIn) -> None:
    endpoint = TokenEndpoint(crm.url, settings=Settings(**LIMITS), pacer=Pacer(1000))
    wrong = replace(integration_of(crm), client_secret=SecretStr("other"))
    with pytest.raises(AuthenticationError) as caught:
        endpoint.exchange_code(wrong, SecretStr("code"))
    assert caught.value.code == "wrong_integration"
    assert "redirect address" in caught.value.problem


def test_revoked_in_amocrm(crm: StandIn, opened: Open) -> None:
    crm.admin("oauth/revoke", {})
    for _ in range(3):
        with pytest.raises(AuthenticationError) as caught:
            opened().get("account")
        assert caught.value.code == "reauthorise"
        assert f"{COMMAND} {crm.url}" in caught.value.remedy
    assert requests(crm, TOKEN_PATH) == [401]  # asked once; then a person has to act


@pytest.mark.parametrize("described", [*HAPPENED, *NOT_HAPPENED])
def test_a_lost_answer_is_not_repeated(
    crm: StandIn, opened: Open, store: FileStore, described: dict[str, Any]
) -> None:
    expire(crm)
    fault(crm, **described)
    client = opened()
    for attempt in (client, client, opened()):
        with pytest.raises(AuthenticationError) as caught:
            attempt.get("account")
        assert caught.value.code == "reauthorise"
        assert COMMAND in caught.value.remedy
    assert len(requests(crm, TOKEN_PATH)) == 1
    store.save(authorised(crm))
    assert opened().get("account")
    assert client.get("account")  # the process that gave up sees it as well


def test_a_hanging_answer_is_not_repeated(crm: StandIn, opened: Open) -> None:
    expire(crm)
    fault(crm, mode="slow", seconds=2)
    with pytest.raises(AuthenticationError):
        opened(read_timeout=0.3).get("account")
    assert len(requests(crm, TOKEN_PATH)) == 1


def test_authorised_anew_while_the_old_token_is_refused(crm: StandIn, opened: Open, store: FileStore) -> None:
    class Rival(FileStore):
        """Another process authorises the integration anew while the refresh is under way."""

        def save(self, authorisation: Authorisation) -> None:
            super().save(authorised(crm) if authorisation.handed_in else authorisation)

    crm.admin("oauth/revoke", {})
    assert opened(Rival(store.path)).get("account")


@pytest.mark.parametrize("described", NOT_HAPPENED)
def test_a_lost_answer_ahead_of_the_end_heals_when_the_old_token_still_works(
    crm: StandIn, opened: Open, store: FileStore, now: Now, described: dict[str, Any]
) -> None:
    before = store.load()
    now.ahead = timedelta(hours=23, minutes=50)
    fault(crm, **described)
    client = opened()
    for _ in range(3):
        client.get("account")
    assert len(requests(crm, TOKEN_PATH)) == 1  # the server may still be at work on it
    assert store.load().is_doubtful
    now.ahead += timedelta(seconds=61)
    client.get("account")  # proves that the refresh did not happen ...
    assert len(requests(crm, TOKEN_PATH)) == 1
    now.ahead += timedelta(seconds=61)
    client.get("account")  # ... so it may be asked for again
    assert requests(crm, ACCOUNT_PATH) == [200] * 5
    assert requests(crm, TOKEN_PATH)[1:] == [200]
    assert store.load().tokens.refresh_token != before.tokens.refresh_token


@pytest.mark.parametrize("described", HAPPENED)
def test_a_lost_answer_ahead_of_the_end_is_known_by_the_refusal_of_the_old_token(
    crm: StandIn, opened: Open, now: Now, described: dict[str, Any]
) -> None:
    now.ahead = timedelta(hours=23, minutes=50)
    fault(crm, **described)
    client = opened()
    with pytest.raises(AuthenticationError) as caught:
        client.get("account")
    assert caught.value.code == "reauthorise"
    assert requests(crm, ACCOUNT_PATH) == [401]
    assert len(requests(crm, TOKEN_PATH)) == 1


def test_killed_ahead_of_the_end_heals_in_the_next_process(
    crm: StandIn, opened: Open, store: FileStore, now: Now
) -> None:
    noted = near_its_end(store.load())
    store.save(replace(noted, handed_in=noted.mark, handed_in_at=now()))
    opened().get("account")
    assert requests(crm, TOKEN_PATH) == []
    now.ahead = timedelta(seconds=50)
    store.save(replace(store.load(), handed_in_at=now() - timedelta(seconds=61)))
    client = opened()
    client.get("account")
    now.ahead = timedelta(seconds=111)
    client.get("account")
    assert requests(crm, TOKEN_PATH) == [200]
    assert not store.load().is_doubtful


def test_a_proof_outlives_a_failure_after_it(
    crm: StandIn, opened: Open, store: FileStore, now: Now, closed_port: int
) -> None:
    noted = near_its_end(store.load())
    store.save(replace(noted, handed_in=noted.mark, handed_in_at=now() - timedelta(hours=1)))
    client = opened(url=f"http://127.0.0.1:{closed_port}")
    client.get("account")
    now.ahead = timedelta(seconds=61)
    expire(crm)
    with pytest.raises(AmoCrmUnavailableError):
        client.get("account")
    assert opened().get("account")  # what was proven is known to the next process
    assert requests(crm, TOKEN_PATH) == [200]


def test_429_is_waited_for(crm: StandIn, opened: Open, clock: Any) -> None:
    expire(crm)
    fault(crm, mode="status", status=429, count=2)
    before = clock.now
    assert opened().get("account")
    assert requests(crm, TOKEN_PATH) == [429, 429, 200]
    assert clock.now - before >= 1  # the pace of the whole integration is held


@pytest.mark.parametrize(("described", "error"), REFUSED_IN_FRONT)
def test_what_was_refused_in_front_uses_nothing_up(
    crm: StandIn, opened: Open, store: FileStore, described: dict[str, Any], error: type[IdentAmocrmError]
) -> None:
    expire(crm)
    fault(crm, **described)
    with pytest.raises(error):
        opened(retry_seconds=1).get("account")
    assert not store.load().is_doubtful
    crm.admin("faults", method="DELETE")
    assert opened().get("account")


def test_without_a_connection_nothing_is_used_up(
    crm: StandIn, opened: Open, store: FileStore, closed_port: int, now: Now
) -> None:
    now.ahead = timedelta(hours=23, minutes=50)
    closed = f"http://127.0.0.1:{closed_port}"
    opened(url=closed).get("account")  # the old token is good for ten minutes
    expire(crm)
    with pytest.raises(AmoCrmUnavailableError):
        opened(url=closed).get("account")
    assert not store.load().is_doubtful
    assert opened().get("account")
    assert requests(crm, TOKEN_PATH) == [200]


# ---- stored before used --------------------------------------------------------------------------------------


class Watched(FileStore):
    """Notes what amoCRM had been asked when something was stored, and fails when told to."""

    def __init__(self, path: Path, crm: StandIn) -> None:
        super().__init__(path)
        self.crm = crm
        self.saved: list[tuple[bool, int, int]] = []
        self.failing: Callable[[bool], bool] = lambda _marking: False

    def save(self, authorisation: Authorisation) -> None:
        marking = bool(authorisation.handed_in)
        if self.failing(marking):
            raise TransientError(problem="Full.", remedy="Wait.", code="full")
        super().save(authorisation)
        asked = len(requests(self.crm, TOKEN_PATH))
        self.saved.append((marking, asked, len(requests(self.crm, ACCOUNT_PATH))))


def test_the_mark_is_stored_before_and_the_tokens_before_their_use(
    crm: StandIn, opened: Open, store: FileStore
) -> None:
    watched = Watched(store.path, crm)
    expire(crm)
    opened(watched).get("account")
    # Marked, no refresh sent, one refused request; then stored, one refresh, still that one request.
    assert watched.saved == [(True, 0, 1), (False, 1, 1)]
    assert requests(crm, ACCOUNT_PATH) == [401, 200]


def test_a_store_that_cannot_be_written_keeps_the_refresh_token_unused(
    crm: StandIn, opened: Open, store: FileStore
) -> None:
    watched = Watched(store.path, crm)
    watched.failing = lambda _marking: True
    expire(crm)
    with pytest.raises(TransientError):
        opened(watched).get("account")
    assert requests(crm, TOKEN_PATH) == []
    watched.failing = lambda _marking: False
    assert opened(watched).get("account")


def test_a_store_that_hiccups_is_waited_for(crm: StandIn, opened: Open, store: FileStore, clock: Any) -> None:
    watched, hiccups = Watched(store.path, crm), iter([True, True, False])
    watched.failing = lambda marking: not marking and next(hiccups)
    expire(crm)
    assert opened(watched).get("account")
    assert clock.slept.count(0.5) == 1
    assert requests(crm, TOKEN_PATH) == [200]


def test_tokens_that_could_not_be_stored_are_not_used_but_kept(
    crm: StandIn, opened: Open, store: FileStore
) -> None:
    watched = Watched(store.path, crm)
    watched.failing = lambda marking: not marking
    expire(crm)
    client = opened(watched)
    for _ in range(2):
        with pytest.raises(TransientError):
            client.get("account")
    assert requests(crm, ACCOUNT_PATH) == [401]  # no request with a token that nobody else knows
    assert requests(crm, TOKEN_PATH) == [200]
    watched.failing = lambda _marking: False
    assert client.get("account")
    assert opened().get("account")
    assert requests(crm, TOKEN_PATH) == [200]


def test_a_home_that_cannot_be_written_keeps_the_refresh_token_unused(
    crm: StandIn, opened: Open, tmp_path: Path
) -> None:
    (tmp_path / "lock").mkdir()
    expire(crm)
    with pytest.raises(IdentAmocrmError) as caught:
        opened().get("account")
    assert caught.value.code == "home_not_writable"
    assert requests(crm, TOKEN_PATH) == []


# ---- nothing leaks -------------------------------------------------------------------------------------------


def test_no_secret_is_ever_shown(
    crm: StandIn, opened: Open, store: FileStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    code = SecretStr(crm.admin("oauth/code", {})["code"])
    said: list[str] = []
    endpoint = TokenEndpoint(crm.url, settings=Settings(**LIMITS), pacer=Pacer(1000))
    seen = [store.load()]
    for described in (None, {"mode": "truncate"}, {"mode": "status", "status": 500}, {"mode": "drop_after"}):
        store.save(authorised(crm))
        seen.append(store.load())
        expire(crm)
        if described:
            fault(crm, **described)
        client = opened()
        try:
            client.get("account")
        except IdentAmocrmError as error:
            said.append("".join(traceback.format_exception(error)))
        said += [repr(client), repr(vars(client)), repr(vars(client._requester)), repr(seen[-1])]
        said.append(repr(vars(client._requester._tokens)))
        seen.append(store.load())
    for grant in (code, code):
        try:
            said.append(repr(endpoint.exchange_code(integration_of(crm), grant)))
        except IdentAmocrmError as error:
            said.append("".join(traceback.format_exception(error)))
    secrets = {code.get_secret_value(), seen[0].integration.client_secret.get_secret_value()}
    for authorisation in seen:
        secrets.add(authorisation.tokens.access_token.get_secret_value())
        secrets.add(authorisation.tokens.refresh_token.get_secret_value())
    text = "\n".join([*said, caplog.text])
    assert "oauth2/access_token: 200" in caplog.text
    assert len(secrets) >= 10
    assert [secret[:6] for secret in secrets if secret in text] == []


def test_an_integration_is_marked_without_showing_it() -> None:
    integration = Integration("id", SecretStr("very-secret"), "https://clinic.example")
    assert "very-secret" not in repr(integration)
