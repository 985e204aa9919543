"""``thresholds show`` and ``thresholds set``: where a clinic's rules about its data draw their lines."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from deployments.cli.output import Output, OutputOption, show, table
from deployments.cli.session import open_session
from tasks.errors import ConfigurationError

__all__ = ["set_thresholds", "show_thresholds"]

ClinicArgument = Annotated[str, typer.Argument(help="Name of the clinic.")]


def show_thresholds(clinic: ClinicArgument, output: OutputOption = Output.TEXT) -> None:
    """Show the thresholds of a clinic, with what they mean."""
    from tasks.validate import thresholds_of

    ledger = open_session(prefect=False)
    _show(thresholds_of(ledger, ledger.connection(clinic).clinic_uid), output)


def set_thresholds(
    clinic: ClinicArgument,
    changes: Annotated[list[str], typer.Argument(help="NAME=VALUE; an empty value restores the default.")],
    output: OutputOption = Output.TEXT,
) -> None:
    """Change thresholds of a clinic, such as opens=8 closes=21 or working_days=1,2,3,4,5."""
    from tasks.validate import save_thresholds

    pairs = [change.partition("=") for change in changes]
    if not all(equals for _name, equals, _value in pairs):
        raise ConfigurationError(
            problem="A change is written NAME=VALUE.",
            remedy="For instance: ident-amocrm thresholds set NAME quiet_hours=6",
            code="thresholds",
        )
    ledger = open_session(prefect=False)
    wanted = {name.strip(): value.strip() for name, _equals, value in pairs}
    _show(save_thresholds(ledger, ledger.connection(clinic).clinic_uid, wanted, by="cli"), output)


def _show(thresholds: Any, output: Output) -> None:
    values = thresholds.model_dump(mode="json")
    result = table("Пороги проверок", "Порог", "Значение", "Что значит")
    for name, field in type(thresholds).model_fields.items():
        result.add_row(name, str(values[name]), field.description or "")
    show(values, output, result)
