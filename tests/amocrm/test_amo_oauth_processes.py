"""Processes that share one single-use refresh token: renewed at once by two, and killed on the way."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deployments.sandbox.amocrm.server import StandIn
from tests.support.oauth import FileStore, authorised

ROOT = Path(__file__).parents[2]
TOKEN_PATH = "/oauth2/access_token"
NOTED = "when handing in is noted"
BEFORE, AFTER = "before the tokens are stored", "after the tokens are stored"


@pytest.fixture
def crm() -> Iterator[StandIn]:
    with StandIn(limit=None, index_lag=0) as crm:
        yield crm


@pytest.fixture
def store(crm: StandIn, tmp_path: Path) -> FileStore:
    store = FileStore(tmp_path / "tokens")
    store.save(authorised(crm))
    crm.admin("stats/reset", {})
    return store


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(crm: StandIn, store: FileStore, tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def process(moment: str = "never") -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.support.oauth", crm.url, str(tmp_path), moment]
        child = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        return child

    yield process
    for child in started:
        child.kill()
        child.communicate()


def go(*children: subprocess.Popen[str]) -> list[Any]:
    """Let processes send their request at the same time; return what they said, and how they ended."""
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    said = [child.communicate(timeout=60)[0] for child in children]
    return [
        json.loads(text) if text else child.returncode for text, child in zip(said, children, strict=True)
    ]


def requests(crm: StandIn, path: str) -> list[int]:
    """Status of each request of an address, as they arrived."""
    return [entry["status"] for entry in crm.admin("stats")["log"] if entry["path"] == path]


def test_two_processes_refresh_once(crm: StandIn, start: Start, store: FileStore) -> None:
    children = [start("race"), start("race")]
    crm.admin("oauth/expire", {})
    # The second is refused as well, long before the first has new tokens.
    crm.admin("faults", {"mode": "slow", "seconds": 1.5, "path_prefix": TOKEN_PATH})
    before = store.load()
    said = go(*children)
    assert [answer["account"] for answer in said] == [crm.admin("dump")["account"]["id"]] * 2
    assert requests(crm, "/api/v4/account").count(401) == 2
    assert requests(crm, TOKEN_PATH) == [200]
    assert store.load().tokens != before.tokens
    assert not store.load().is_doubtful


def test_killed_after_storing_the_next_process_works(crm: StandIn, start: Start, store: FileStore) -> None:
    before = store.load()
    crm.admin("oauth/expire", {})
    assert go(start(AFTER)) == [-signal.SIGKILL]
    assert store.load().tokens.refresh_token != before.tokens.refresh_token
    assert "account" in go(start())[0]
    assert requests(crm, TOKEN_PATH) == [200]


@pytest.mark.parametrize("moment", [NOTED, BEFORE])
def test_killed_before_storing_a_person_is_asked(
    crm: StandIn, start: Start, store: FileStore, moment: str
) -> None:
    crm.admin("oauth/expire", {})
    assert go(start(moment)) == [-signal.SIGKILL]
    for _ in range(2):
        (said,) = go(start())
        assert said["error"] == "reauthorise"
        assert f"ident-amocrm connect-amocrm --base-url {crm.url} --client-id" in said["text"]
        assert "--auth-code-file" in said["text"]
    # Not handed in a second time, whether or not the first time reached amoCRM.
    assert requests(crm, TOKEN_PATH) == ([200] if moment == BEFORE else [])
    store.save(authorised(crm))
    assert "account" in go(start())[0]
