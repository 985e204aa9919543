from __future__ import annotations

import logging
import socket
import ssl
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import certifi
import pytest
import requests
import responses
import urllib3

from tasks.amocrm.client import AmoClient
from tasks.amocrm.error_table import Failure
from tasks.amocrm.transport import failure_of
from tasks.errors import AmoCrmUnavailableError, AuthenticationError, ConfigurationError

Connect = Callable[..., AmoClient]
Certificate = tuple[Path, ssl.SSLContext]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://clinic.amocrm.ru/", "https://clinic.amocrm.ru"),
        (" https://clinic.amocrm.ru/leads/list ", "https://clinic.amocrm.ru"),
        ("http://127.0.0.1:8085/", "http://127.0.0.1:8085"),
        ("http://localhost", "http://localhost"),
        ("http://[::1]:80", "http://[::1]:80"),
    ],
)
def test_good_addresses(connect: Connect, given: str, kept: str) -> None:
    assert connect(given).base_url == kept


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("clinic.amocrm.ru", "base_url"),
        ("ftp://clinic.amocrm.ru", "base_url"),
        ("https://", "base_url"),
        ("https://[::1", "base_url"),
        ("https://clinic.amocrm.ru:99999", "base_url"),
        ("https://me:pass-word@clinic.amocrm.ru", "base_url"),
        ("eyJ-pass-word", "base_url"),
        ("http://clinic.amocrm.ru", "insecure_url"),
        ("http://localhost.example", "insecure_url"),
    ],
)
def test_bad_addresses(connect: Connect, given: str, code: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        connect(given)
    assert caught.value.code == code
    assert "pass-word" not in str(caught.value)


@pytest.mark.parametrize("token", ["", "  ", "two words", "line\nline", "токен"])
def test_bad_tokens_are_refused_before_they_are_sent(connect: Connect, token: str) -> None:
    with pytest.raises(AuthenticationError) as caught:
        connect(token=token)
    assert "--token-file" in caught.value.remedy
    assert not token.strip() or token not in str(caught.value)


@responses.activate
def test_headers(connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine clinic.example login other password other\n")
    monkeypatch.setenv("NETRC", str(netrc))
    responses.add("GET", "https://clinic.example/api/v4/account", json={})
    connect(token="abc\n").get("account")
    headers = responses.calls[0].request.headers
    assert headers["Authorization"] == "Bearer abc"
    assert headers["User-Agent"].startswith("ident-amocrm/")


def test_each_thread_has_its_own_session(connect: Connect) -> None:
    client, found = connect(), []
    both = threading.Barrier(2)

    def take() -> None:
        found.append((client._requester._session(), client._requester._session()))
        both.wait(5)

    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0][0] is found[0][1]
    assert found[0][0] is not found[1][0]


def test_an_unknown_certificate_is_told_once(
    connect: Connect, serve: Any, steps: Any, own_certificate: Certificate
) -> None:
    server = serve(steps["reply"](), tls=own_certificate[1])
    for verb in ("get", "post"):
        client = connect(server.url)
        with pytest.raises(ConfigurationError) as caught:
            client.get("account") if verb == "get" else client.post("contacts", [])
        assert caught.value.code == "tls"
        assert "IDENT_AMOCRM_CA_BUNDLE" in caught.value.remedy
        assert f"127.0.0.1:{server.port}" in caught.value.problem
        assert client.requests == 1
    assert server.seen == []


def test_the_settings_file_of_certificates_is_used(
    connect: Connect, serve: Any, steps: Any, own_certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(steps["reply"](), tls=own_certificate[1])
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certifi.where())
    assert connect(server.url, ca_bundle=own_certificate[0]).get("account") == {}


def test_the_environments_file_of_certificates_is_used(
    connect: Connect, serve: Any, steps: Any, own_certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(steps["reply"](), tls=own_certificate[1])
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(own_certificate[0]))
    assert connect(server.url).get("account") == {}


def test_missing_files_of_certificates(
    connect: Connect, tmp_path: Path, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match="IDENT_AMOCRM_CA_BUNDLE"):
        connect(ca_bundle=tmp_path / "none.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    client = connect(f"https://127.0.0.1:{closed_port}")
    with pytest.raises(ConfigurationError, match="REQUESTS_CA_BUNDLE") as caught:
        client.post("contacts", [])
    assert caught.value.code == "ca_bundle"
    assert client.requests == 1


def test_switched_off_checks_are_announced_once_and_only_here(
    connect: Connect,
    serve: Any,
    steps: Any,
    own_certificate: Certificate,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = serve(steps["reply"](), tls=own_certificate[1])
    client = connect(server.url, verify_tls=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert client.get("account") == {}
        assert client.get("account") == {}
        with pytest.raises(urllib3.exceptions.InsecureRequestWarning):  # others are still warned
            requests.get(server.url, verify=False, timeout=5)  # noqa: S501 - that is the point
    assert len(client.warnings) == 1
    assert "NOT checked" in client.warnings[0]
    assert caplog.record_tuples.count(("tasks.amocrm.client", logging.WARNING, client.warnings[0])) == 1


def test_checks_are_on_by_default(connect: Connect) -> None:
    assert connect().warnings == []


def test_plain_http_behind_an_https_address(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with listener.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ConfigurationError) as caught:
            connect(f"https://127.0.0.1:{listener.getsockname()[1]}").post("contacts", [])
        thread.join(5)
    assert caught.value.code == "tls"


def proxy(serve: Any, steps: Any) -> Any:
    return serve(steps["reply"](407, b""))


def test_the_environments_proxy_is_used_and_spared_by_no_proxy(
    connect: Connect,
    serve: Any,
    steps: Any,
    own_certificate: Certificate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    relay = proxy(serve, steps)
    monkeypatch.setenv("HTTPS_PROXY", relay.url)
    client = connect()
    with pytest.raises(AmoCrmUnavailableError) as caught:
        client.post("contacts", [])
    assert "HTTPS_PROXY" in caught.value.remedy
    assert relay.seen[0].startswith("CONNECT clinic.example:443")
    relay.seen.clear()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = serve(steps["reply"](), tls=own_certificate[1])
    assert connect(server.url, ca_bundle=own_certificate[0]).get("account") == {}
    assert relay.seen == []


@pytest.mark.parametrize("verify_tls", [True, False])
def test_the_settings_proxy_beats_the_environments(
    connect: Connect, serve: Any, steps: Any, monkeypatch: pytest.MonkeyPatch, verify_tls: bool
) -> None:
    ours, other = proxy(serve, steps), proxy(serve, steps)
    monkeypatch.setenv("HTTPS_PROXY", other.url)
    login = ours.url.replace("//", "//user:pass-word@")
    client = connect(https_proxy=login, verify_tls=verify_tls)
    with pytest.raises(AmoCrmUnavailableError) as caught:
        client.get("account")
    assert ours.seen[0].startswith("CONNECT clinic.example:443")
    assert other.seen == []
    assert "pass-word" not in str(caught.value)


@pytest.mark.parametrize(
    ("reason", "failure"),
    [
        ("CERTIFICATE_VERIFY_FAILED", Failure.UNTRUSTED),
        ("WRONG_VERSION_NUMBER", Failure.UNTRUSTED),
        ("DECRYPTION_FAILED_OR_BAD_RECORD_MAC", Failure.LOST),
        ("UNEXPECTED_EOF_WHILE_READING", Failure.LOST),
    ],
)
def test_tls_that_breaks_after_the_handshake_counts_as_sent(reason: str, failure: Failure) -> None:
    inner = ssl.SSLError(1, reason)
    inner.reason = reason
    wrapped = urllib3.exceptions.SSLError(inner)
    retry = urllib3.exceptions.MaxRetryError(urllib3.HTTPConnectionPool("x"), "/", wrapped)
    assert failure_of(requests.exceptions.SSLError(retry)) is failure


def test_an_unknown_host_was_not_reached(connect: Connect) -> None:
    client = connect("https://clinic.invalid")
    with pytest.raises(AmoCrmUnavailableError, match=r"clinic\.invalid:443") as caught:
        client.post("contacts", [])
    assert client.requests <= 3
    assert "proxy" in caught.value.remedy
