"""ODBC drivers: which is taken, and what each is told."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import SecretStr

from tasks.errors import ConfigurationError
from tasks.ident import drivers
from tasks.ident.connection import IdentConnection
from tasks.ident.drivers import connection_string, find_driver, load_pyodbc
from tests.ident.conftest import driver
from tests.support.small_clinic import ClinicServer

EIGHTEEN, FREE = "ODBC Driver 18 for SQL Server", "/usr/lib/x86_64-linux-gnu/odbc/libtdsodbc.so"


def parts(driver: str, **settings: object) -> dict[str, str]:
    """The connection string in pieces; none of the values here holds a semicolon."""
    text = connection_string(IdentConnection(**settings), driver)
    return dict(part.split("=", 1) for part in text.split(";"))


@pytest.mark.parametrize(
    ("installed", "expected"),
    [
        (["SQL Server", "ODBC Driver 17 for SQL Server", EIGHTEEN], EIGHTEEN),
        (["SQL Server", "ODBC Driver 17 for SQL Server"], "ODBC Driver 17 for SQL Server"),
        (["FreeTDS", "SQL Server"], "FreeTDS"),
        (["PostgreSQL", "SQL Server"], "SQL Server"),
        (["SQL Server", "SQL Server Native Client 11.0"], "SQL Server Native Client 11.0"),
    ],
)
def test_the_newest_driver_is_taken(
    monkeypatch: pytest.MonkeyPatch, installed: list[str], expected: str
) -> None:
    monkeypatch.setattr(drivers, "load_pyodbc", lambda: SimpleNamespace(drivers=lambda: installed))
    monkeypatch.setattr(drivers, "FREETDS_FILES", ())
    monkeypatch.setattr(drivers, "_wheel_driver", lambda: None)
    assert find_driver() == expected
    assert find_driver("mine") == "mine"


def test_no_driver_says_how_to_install_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drivers, "load_pyodbc", lambda: SimpleNamespace(drivers=lambda: ["PostgreSQL"]))
    monkeypatch.setattr(drivers, "FREETDS_FILES", ())
    monkeypatch.setattr(drivers, "_wheel_driver", lambda: None)
    with pytest.raises(ConfigurationError) as caught:
        find_driver()
    assert caught.value.code == "driver_missing"
    assert "apt-get install" in caught.value.remedy


def test_a_file_is_taken_where_no_name_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("libtdsodbc.so", "libtdsodbc.so.0"):
        (tmp_path / name).touch()
    monkeypatch.setattr(drivers, "load_pyodbc", lambda: SimpleNamespace(drivers=lambda: ["SQL Server"]))
    monkeypatch.setattr(drivers, "FREETDS_FILES", (f"{tmp_path}/libtdsodbc.so*",))
    assert find_driver() == f"{tmp_path}/libtdsodbc.so.0"


def test_no_odbc_library_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyodbc", None)
    with pytest.raises(ConfigurationError) as caught:
        load_pyodbc()
    assert caught.value.code == "driver_missing"


@pytest.mark.odbc
def test_odbc_keeps_no_pool_of_its_own() -> None:
    driver("freetds")
    assert load_pyodbc().pooling is False


@pytest.mark.parametrize("name", [EIGHTEEN, FREE])
def test_each_driver_is_told_that_we_only_read(name: str) -> None:
    found = parts(name, host="clinic", password="secret")
    assert found["ApplicationIntent"] == "ReadOnly"
    assert (found["DATABASE"], found["UID"], found["PWD"]) == ("PZ", "readonly_user", "secret")
    assert found["DRIVER"] == (f"{{{EIGHTEEN}}}" if name == EIGHTEEN else FREE)


@pytest.mark.parametrize(
    ("settings", "microsoft", "free"),
    [
        ({}, {"SERVER": "{tcp:127.0.0.1,15000}"}, {"SERVER": "127.0.0.1", "PORT": "15000"}),
        ({"port": None}, {"SERVER": "{tcp:127.0.0.1,1433}"}, {"SERVER": "127.0.0.1", "PORT": "1433"}),
        (
            {"host": "clinic", "instance": "PZSQLSERVER"},
            {"SERVER": "clinic\\PZSQLSERVER"},
            {"SERVER": "clinic\\PZSQLSERVER"},
        ),
    ],
)
def test_each_driver_is_told_the_place_in_its_own_words(
    settings: dict[str, object], microsoft: dict[str, str], free: dict[str, str]
) -> None:
    assert parts(EIGHTEEN, **settings).items() >= microsoft.items()
    assert parts(FREE, **settings).items() >= free.items()
    assert "PORT" not in parts(EIGHTEEN, **settings)
    assert ("PORT" in parts(FREE, **settings)) == ("PORT" in free)


@pytest.mark.parametrize(
    ("host", "encryption", "microsoft", "free"),
    [
        ("127.0.0.1", "auto", "no", "request"),
        ("192.168.0.5", "auto", "yes", "request"),
        ("192.168.0.5", "optional", "no", "request"),
        ("127.0.0.1", "mandatory", "yes", "require"),
        ("192.168.0.5", "off", "no", "off"),
    ],
)
def test_each_driver_is_told_about_encryption(host: str, encryption: str, microsoft: str, free: str) -> None:
    assert parts(EIGHTEEN, host=host, encryption=encryption)["Encrypt"] == microsoft
    assert parts(FREE, host=host, encryption=encryption)["Encryption"] == free


def test_a_certificate_is_trusted_unless_it_is_said_otherwise() -> None:
    assert parts(EIGHTEEN)["TrustServerCertificate"] == "yes"
    assert parts(EIGHTEEN, trust_certificate=False)["TrustServerCertificate"] == "no"


PASSWORDS = [
    "plain",
    "a;b",
    "a=b",
    "{a",
    "a b",
    " edge ",
    "a{b}c",
    "ends}",
    "a'b\"c",
    "пароль",
    "[x](y),?*!@",
    ";",
    "}",
]


@pytest.mark.odbc
@pytest.mark.parametrize("kind", ["freetds", "microsoft"])
@pytest.mark.parametrize("password", PASSWORDS)
def test_any_password_reaches_the_server(clinic_server: ClinicServer, kind: str, password: str) -> None:
    import pyodbc

    users = clinic_server.database.users
    users["somebody"] = password
    connection = clinic_server.clinic(driver(kind)).connection.model_copy(
        update={"user": "somebody", "password": SecretStr(password)}
    )
    try:
        pyodbc.connect(connection_string(connection, driver(kind)), timeout=5).close()
    finally:
        del users["somebody"]


def test_a_password_that_freetds_cannot_take_is_refused() -> None:
    connection = IdentConnection(password=SecretStr("a};b"))
    with pytest.raises(ConfigurationError) as caught:
        connection_string(connection, FREE)
    assert caught.value.code == "password_unusable"
    assert "a};b" not in str(caught.value)
    assert "PWD={a}};b}" in connection_string(connection, EIGHTEEN)
