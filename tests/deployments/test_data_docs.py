"""The server of the pages of data quality: what it gives, and to whom."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from deployments.data_docs import HEADERS, _own_names
from tasks.settings import Settings
from tests.support.ports import free_port
from tests.support.serving_pages import serving

ROOT = Path(__file__).parents[2]
PASSWORD = "оператор:секрет"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pages = tmp_path / "data-docs" / "pages"
    (pages / "uid").mkdir(parents=True)
    (pages / "index.html").write_text("contents", encoding="utf-8")
    (pages / "uid" / "index.html").write_text("клиника", encoding="utf-8")
    (pages / "uid" / ".index.html.77").write_text("half", encoding="utf-8")
    (tmp_path / "data-docs" / "results").mkdir()
    (tmp_path / "data-docs" / "results" / "kept.json").write_text("secret", encoding="utf-8")
    (tmp_path / "installation.key").write_text("secret", encoding="utf-8")
    return pages


def get(address: str, headers: dict[str, str] | None = None, method: str = "GET") -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, address, headers=headers, timeout=10)


def basic(text: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


def test_pages_are_given_with_headers_that_forbid_other_hosts(folder: Path) -> None:
    with serving(folder) as url:
        found = get(f"{url}/uid/")
        assert (found.status_code, found.content.decode()) == (200, "клиника")
        assert {name: found.headers[name] for name in HEADERS} == HEADERS
        assert "default-src 'none'" in found.headers["Content-Security-Policy"]
        assert get(f"{url}/uid/index.html", method="HEAD").status_code == 200
        assert get(url).text == "contents"
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            assert get(f"{url}/uid/index.html", method=method).status_code == 405


def test_before_the_first_run_the_page_says_so(tmp_path: Path) -> None:
    with serving(tmp_path / "nothing") as url:
        found = get(url)
        assert found.status_code == 200
        assert "Ещё ничего не проверено" in found.text
        assert get(f"{url}/uid/").status_code == 404


def test_nothing_outside_the_folder(folder: Path, tmp_path: Path) -> None:
    if os.name == "posix":
        (folder / "uid" / "way.out").symlink_to(tmp_path / "installation.key")
    paths = (
        "/../results/kept.json",
        "/%2e%2e/results/kept.json",
        "/..%2fresults/kept.json",
        "/uid/..%2f..%2f..%2finstallation.key",
        "/uid/%2e%2e/%2e%2e/%2e%2e/installation.key",
        "/..%5cresults%5ckept.json",
        f"/{tmp_path}/installation.key",
        "//etc/passwd",
        "/%00",
        "/uid/way.out",
        "/uid/.index.html.77",
        "/uid/missing.html",
        "/uid/" + "a" * 300,
    )
    with serving(folder) as url:
        port = int(url.rpartition(":")[2])
        for path in paths:
            # A client library would tidy the path up, so the request is written by hand.
            with socket.create_connection(("127.0.0.1", port), timeout=10) as link:
                asked = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
                link.sendall(asked.encode())
                answer = b"".join(iter(lambda: link.recv(65536), b""))
            assert answer.split()[1] in {b"404", b"400"}, (path, answer)
            assert not any(part in answer for part in (b"secret", b"root:", b"half")), path


def test_prefects_password_is_asked_for(folder: Path) -> None:
    with serving(folder, credentials=PASSWORD) as url:
        refused = get(f"{url}/uid/")
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"].startswith("Basic ")
        assert "клиника" not in refused.content.decode()
        assert get(f"{url}/uid/", basic(PASSWORD)).status_code == 200
        for wrong in (basic("оператор:"), basic(""), {"Authorization": "Basic ***"}, {"Authorization": "x"}):
            assert get(f"{url}/uid/", wrong).status_code == 401


def test_another_sites_name_is_not_answered(folder: Path, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, data_docs_url="https://quality.clinic.test/pages")
    names = _own_names("127.0.0.1", settings)
    with serving(folder, names=names) as url:
        statuses = {
            host: get(f"{url}/uid/", {"Host": host}).status_code
            for host in ("evil.test", "quality.clinic.test", "localhost:4280", "[::1]:4280", "[")
        }
    assert statuses == {
        "evil.test": 421,
        "quality.clinic.test": 200,
        "localhost:4280": 200,
        "[::1]:4280": 200,
        "[": 421,
    }
    assert _own_names("0.0.0.0", settings) == set()  # noqa: S104


def test_the_network_is_not_served_without_a_password(tmp_path: Path) -> None:
    around = {**os.environ, "IDENT_AMOCRM_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    around.pop("PREFECT_SERVER_API_AUTH_STRING", None)
    done = subprocess.run(
        [sys.executable, "-m", "deployments.data_docs", "--host", "0.0.0.0", "--port", str(free_port())],  # noqa: S104
        env=around,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "PREFECT_SERVER_API_AUTH_STRING" in done.stderr
