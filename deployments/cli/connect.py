"""``connect-database``, ``disconnect-database``, ``rename-clinic``, ``connect-amocrm``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.output import Output, OutputOption, say, show
from deployments.cli.session import open_session, read_secret

if TYPE_CHECKING:
    from tasks.ident.connection import IdentConnection

__all__ = ["connect_amocrm", "connect_database", "disconnect_database", "rename_clinic"]


def connect_database(  # noqa: PLR0913, PLR0917 - one option per part of a connection
    name: Annotated[str, typer.Argument(help="Name of the clinic, as other commands call it.")],
    host: Annotated[str, typer.Option(help="Server of the IDENT database.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="TCP port (15000 unless an instance is named).")] = None,
    instance: Annotated[str | None, typer.Option(help="Named instance, such as PZSQLSERVER.")] = None,
    database: Annotated[str, typer.Option(help="Database; for driver sqlite the file.")] = "PZ",
    user: Annotated[str, typer.Option(help="Read-only login.")] = "readonly_user",
    password_file: Annotated[Path | None, typer.Option(help="File that holds the password alone.")] = None,
    timezone: Annotated[
        str, typer.Option(help="Zone of the clinic, such as Europe/Moscow.")
    ] = "Europe/Moscow",
    driver: Annotated[str, typer.Option(help="ODBC driver, auto, or sqlite.")] = "auto",
    encryption: Annotated[str, typer.Option(help="auto, mandatory, optional or off.")] = "auto",
    trust_certificate: Annotated[bool, typer.Option(help="Accept the server's own certificate.")] = True,
    branches: Annotated[
        str, typer.Option(help="Only appointments of these branches: names in IDENT, joined by commas.")
    ] = "",
    same_clinic: Annotated[
        bool, typer.Option("--same-clinic", help="This clinic's database was moved or restored.")
    ] = False,
    clinic_uid: Annotated[
        str | None,
        typer.Option(help="After the ledger was lost: UID in amoCRM's external ids, IDENT-UID-P-1."),
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Test a clinic's IDENT database and save the connection."""
    ledger = open_session()
    from pydantic import SecretStr

    from tasks import connections

    connection = _described(
        host=host,
        port=port,
        instance=instance,
        database=database,
        user=user,
        password=read_secret(password_file, "password") if password_file else SecretStr(""),
        driver=driver,
        encryption=encryption,
        trust_certificate=trust_certificate,
        timezone=timezone,
        branches=branches,
    )
    found = connections.connect_database(
        name, connection, ledger, same_clinic=same_clinic, clinic_uid=clinic_uid
    )
    for warning in found.warnings:
        say(f"Warning: {warning}")
    data = {
        "clinic": name,
        "uid": found.record.clinic_uid,
        "patients": found.patients,
        "appointments": found.appointments,
        "warnings": list(found.warnings),
    }
    show(
        data,
        output,
        f"Connected {name}: {found.patients} patients, {found.appointments} appointments. "
        "Next: ident-amocrm connect-amocrm",
    )


def _described(**parts: object) -> IdentConnection:
    """Return the connection that the options describe."""
    from pydantic import ValidationError

    from tasks.errors import ConfigurationError
    from tasks.ident.connection import IdentConnection

    if parts["driver"] == "sqlite":
        parts["database"] = str(Path(str(parts["database"])).resolve())
    elif parts["port"] is None and not parts["instance"]:
        parts["port"] = 15000
    try:
        return IdentConnection.model_validate(parts)
    except ValidationError as error:
        named = ", ".join(str(problem["loc"][0]) for problem in error.errors() if problem["loc"])
        raise ConfigurationError(
            problem=f"These settings of the connection are not valid: {named}.",
            remedy="See ident-amocrm connect-database --help.",
            code="connection_settings",
        ) from None


def disconnect_database(
    name: Annotated[str, typer.Argument(help="Name of the clinic.")], output: OutputOption = Output.TEXT
) -> None:
    """Forget a clinic's connection; what the ledger knows of amoCRM is kept."""
    ledger = open_session()
    from tasks.clinics import disconnect

    disconnect(ledger, name, by="disconnect-database")
    show({"clinic": name, "disconnected": True}, output, f"Disconnected {name}.")


def rename_clinic(
    name: Annotated[str, typer.Argument(help="Name of the clinic.")],
    new_name: Annotated[str, typer.Argument(help="Its name from now on.")],
    output: OutputOption = Output.TEXT,
) -> None:
    """Call a clinic by another name; its cards in amoCRM, passwords and ledger stay."""
    ledger = open_session(prefect=False)
    from tasks.clinics import rename

    renamed = rename(ledger, name, new_name)
    show({"clinic": renamed.name, "uid": renamed.clinic_uid}, output, f"Renamed {name} to {renamed.name}.")


def connect_amocrm(
    base_url: Annotated[str, typer.Option(help="Address of the account: https://NAME.amocrm.ru")],
    token_file: Annotated[
        Path | None, typer.Option(help="File that holds the long-lived token alone.")
    ] = None,
    auth_code_file: Annotated[
        Path | None,
        typer.Option(help="OAuth: file that holds the authorisation code alone."),
    ] = None,
    client_id: Annotated[str, typer.Option(help="OAuth: id of the integration.")] = "",
    client_secret_file: Annotated[
        Path | None, typer.Option(help="OAuth: file that holds the integration's secret key alone.")
    ] = None,
    redirect_uri: Annotated[
        str, typer.Option(help="OAuth: redirect address, letter for letter as in the integration.")
    ] = "",
    output: OutputOption = Output.TEXT,
) -> None:
    """Test an amoCRM token, or authorise an integration by OAuth (again), and save the account."""
    for_oauth = (auth_code_file, client_id, client_secret_file, redirect_uri)
    if (token_file is not None) == any(for_oauth) or (any(for_oauth) and not all(for_oauth)):
        raise _unclear_access()
    ledger = open_session()
    from tasks import connections
    from tasks.amocrm.token_endpoint import Integration

    if token_file is not None:
        account, warnings = connections.connect_amocrm(base_url, read_secret(token_file, "token"), ledger)
    else:
        secret = read_secret(_given(client_secret_file), "secret key")
        code = read_secret(_given(auth_code_file), "authorisation code")
        integration = Integration(client_id.strip(), secret, redirect_uri.strip())
        account, warnings = connections.authorise_amocrm(base_url, integration, code, ledger)
    for warning in warnings:
        say(f"Warning: {warning}")
    data = {"account_id": account.id, "subdomain": account.subdomain, "timezone": account.timezone}
    text = (
        f"Connected amoCRM account {account.id} ({account.subdomain}). Next: ident-amocrm autoconfigure --yes"
    )
    show(data, output, text)


def _given(path: Path | None) -> Path:
    if path is None:
        raise _unclear_access()
    return path


def _unclear_access() -> Exception:
    from tasks.errors import ConfigurationError

    return ConfigurationError(
        problem="One way to reach the account is needed: a long-lived token, or OAuth with all its parts.",
        remedy=(
            "Give --token-file, or all of --auth-code-file, --client-id, --client-secret-file and "
            "--redirect-uri: see docs/how-to/connect-amocrm.md"
        ),
        code="access_options",
    )
