"""Command line of the demo clinic: ``python -m deployments.sandbox.clinic``."""

import json
from dataclasses import asdict
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from deployments.sandbox.clinic.dirty import Defect
from deployments.sandbox.clinic.generator import ClinicSpec, generate, stream
from deployments.sandbox.clinic.simulate import simulate
from deployments.sandbox.clinic.store import SqliteStore, write_sqlite

app = typer.Typer(
    help="The demo dental clinic in IDENT's schema.", no_args_is_help=True, add_completion=False
)


class _Span(StrEnum):
    HOUR = "hour"
    DAY = "day"


_Zone = Annotated[str, typer.Option(help="Zone of the clinic.")]


def _local_now(timezone: str) -> datetime:
    """Return the clinic's wall time: a database knows no zone."""
    return datetime.now(tz=ZoneInfo(timezone)).replace(tzinfo=None)


@app.command("generate")
def generate_command(
    file: Annotated[Path, typer.Argument(help="The new SQLite file.")],
    appointments: Annotated[int, typer.Option(help="How many appointments.", min=1)] = 300,
    patients: Annotated[
        int | None, typer.Option(help="How many patients; a third of the appointments.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same clinic.")] = 7,
    today: Annotated[str | None, typer.Option(help="The clinic's present day, YYYY-MM-DD.")] = None,
    dirty: Annotated[bool, typer.Option(help="Plant defects, and list them.")] = False,  # noqa: FBT002
    timezone: _Zone = "Europe/Moscow",
) -> None:
    """Make a clinic and write it to a file."""
    day = date.fromisoformat(today) if today else _local_now(timezone).date()
    spec = ClinicSpec(appointments=appointments, patients=patients, seed=seed, today=day, dirty=dirty)
    cases: dict[str, list[int]] = {}
    defects: tuple[Defect, ...] = ()
    try:
        if dirty:
            data = generate(spec)
            cases, defects = data.cases, data.defects
            write_sqlite(data, file)
        else:
            write_sqlite(stream(spec, cases), file)
    except (FileExistsError, ValueError) as error:
        raise typer.BadParameter(str(error)) from None
    counts = {case: len(ids) for case, ids in sorted(cases.items())}
    told = {"patients": spec.patient_count, "appointments": appointments, "cases": counts}
    if dirty:
        told["defects"] = [asdict(defect) for defect in defects]
    print(json.dumps(told, ensure_ascii=False, indent=2))


@app.command("simulate")
def simulate_command(
    file: Annotated[Path, typer.Argument(help="A generated SQLite file; it is changed in place.")],
    span: Annotated[_Span, typer.Option(help="How much to play.")] = _Span.HOUR,
    seed: Annotated[int, typer.Option(help="Which patients it happens to.")] = 1,
    now: Annotated[
        str | None, typer.Option(help="The clinic's present moment, ISO, without an offset.")
    ] = None,
    timezone: _Zone = "Europe/Moscow",
) -> None:
    """Play an hour or a day of work and print the changes as JSON."""
    moment = datetime.fromisoformat(now) if now else _local_now(timezone)
    try:
        store = SqliteStore(file)
        try:
            changes = simulate(store, span.value, moment, seed)
        finally:
            store.close()
    except (LookupError, OSError, ValueError) as error:
        raise typer.BadParameter(str(error)) from None
    print(json.dumps([asdict(change) for change in changes], ensure_ascii=False, indent=2, default=str))


if __name__ == "__main__":
    app()
