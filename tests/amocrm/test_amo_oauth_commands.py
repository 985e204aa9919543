"""OAuth as an operator meets it: commands, the block in Prefect, the ledger, what lies on disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deployments.sandbox.amocrm import api_account
from deployments.sandbox.amocrm.server import StandIn
from tests.e2e.conftest import Installation, Run, installation

TOKEN = "long-lived-token-of-the-stand-in"
TOKEN_PATH = "/oauth2/access_token"

pytestmark = pytest.mark.server


@dataclass
class Story:
    """What one installation went through, step by step."""

    crm: StandIn
    here: Installation
    runs: dict[str, Run] = field(default_factory=dict)
    asked: dict[str, list[int]] = field(default_factory=dict)
    given: set[Path] = field(default_factory=set)
    secrets: set[str] = field(default_factory=set)

    def step(self, name: str, *arguments: str) -> None:
        self.runs[name] = self.here.run(*arguments, "--output", "json")
        log = self.crm.admin("stats")["log"]
        self.asked[name] = [entry["status"] for entry in log if entry["path"] == TOKEN_PATH]

    def file(self, name: str, text: str) -> str:
        path = self.here.folder.parent / name
        path.write_text(f"{text}\n", encoding="utf-8")
        self.given.add(path)
        self.secrets.add(text)
        return str(path)

    def authorise(self) -> list[str]:
        keys = self.crm.admin("oauth")
        options = ["connect-amocrm", "--base-url", self.crm.url, "--client-id", keys["client_id"]]
        options += ["--client-secret-file", self.file("secret", keys["client_secret"])]
        options += ["--redirect-uri", keys["redirect_uri"]]
        return [*options, "--auth-code-file", self.file("code", self.crm.admin("oauth/code", {})["code"])]

    def remember_tokens(self) -> None:
        oauth = self.crm.sandbox.oauth
        self.secrets |= {*oauth._refresh, *oauth._access}

    def live(self) -> None:
        crm = self.crm
        self.step("connect", *self.authorise())
        self.remember_tokens()
        crm.admin("oauth/expire", {})
        self.step("renewed", "autoconfigure", "--yes")
        self.remember_tokens()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(api_account, "ACCOUNT_ID", 77)
            self.step("another account", *self.authorise())
        self.remember_tokens()
        crm.admin("oauth/revoke", {})
        self.step("revoked", "autoconfigure", "--yes")
        self.step("authorise again", *self.authorise())
        self.step("after", "autoconfigure", "--yes")
        self.remember_tokens()
        crm.admin("oauth/revoke", {})
        self.step(
            "long-lived", "connect-amocrm", "--base-url", crm.url, "--token-file", self.file("token", TOKEN)
        )
        self.step("with it", "autoconfigure", "--yes")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with StandIn(token=TOKEN, limit=None, index_lag=0) as crm:
        story = Story(crm, installation(tmp_path_factory.mktemp("oauth")))
        with story.here.server():
            story.live()
            yield story


def answer(run: Run) -> Any:
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_a_code_connects_and_tokens_are_renewed_in_the_block(story: Story) -> None:
    assert answer(story.runs["connect"])["account_id"] == story.crm.admin("dump")["account"]["id"]
    assert story.asked["connect"] == [200]
    answer(story.runs["renewed"])
    assert story.asked["renewed"] == [200, 200]


def test_another_account_is_refused(story: Story) -> None:
    assert story.runs["another account"].returncode == 1
    assert "(another_account)" in story.runs["another account"].stderr


def test_authorised_anew_the_ledger_stays(story: Story) -> None:
    assert "(reauthorise)" in story.runs["revoked"].stderr
    assert "ident-amocrm connect-amocrm --base-url" in story.runs["revoked"].stderr
    answer(story.runs["authorise again"])
    answer(story.runs["after"])  # what was set up before is found again
    pipelines = [one["name"] for one in story.crm.admin("dump")["pipelines"]]
    assert len(pipelines) == len(set(pipelines)) == 3


def test_a_long_lived_token_takes_its_place(story: Story) -> None:
    answer(story.runs["long-lived"])
    answer(story.runs["with it"])
    assert story.asked["with it"] == story.asked["long-lived"] == story.asked["after"]


def test_the_pace_outlives_the_tokens(story: Story) -> None:
    found = [path for path in story.here.home.glob("pace-*") if path.suffix != ".lock"]
    assert len(found) == 2  # of the integration, and of the long-lived token


def test_no_secret_lies_on_disk_or_was_said(story: Story) -> None:
    assert len(story.secrets) > 8
    said = "".join(run.stdout + run.stderr for run in story.here.runs)
    assert [secret[:6] for secret in story.secrets if len(secret) > 10 and secret in said] == []
    folder = story.here.folder.parent
    files = [path for path in folder.rglob("*") if path.is_file() and path not in story.given]
    assert {"ledger.db", "prefect.db"} <= {path.name for path in files}
    leaks = {
        path.name
        for path in files
        if any(secret.encode() in path.read_bytes() for secret in story.secrets if len(secret) > 10)
    }
    assert leaks == set()
