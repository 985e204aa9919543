"""Start and stop in the Prefect UI: conditions, preview, confirmation, and the wish in the ledger."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any, Final

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from tasks.basis import Basis, attest
from tasks.blocks import slug
from tasks.clinics import chosen_clinic
from tasks.conditions import refusal_text
from tasks.connections import open_ledger
from tasks.errors import ConfigurationError, IdentAmocrmError
from tasks.events import emit
from tasks.gate import open_sides
from tasks.launch import NOTIFY, Window
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.markdown import plain
from tasks.preview import preview, preview_markdown
from tasks.records import Kind
from tasks.settings import load_settings
from tasks.transfer import is_started, start_transfer, stop_transfer, wanted_launch

__all__ = ["begin", "consider", "database_day", "halt", "note_basis"]

#: Name of the setting, in the scope of a flow run, by which a resumed run knows that it asked already.
ASKED: Final = "asked"


def database_day(ledger: Ledger, record: ConnectionRecord) -> date:
    """Return the day of the clinic's database, after all conditions were looked at.

    Raises:
        IdentAmocrmError: When a condition of the transfer is not met.
    """
    opened: list[Callable[[], None]] = []
    try:
        return open_sides(ledger, load_settings(), record, opened).reader.now().date()
    finally:
        for close in reversed(opened):
            close()


@task(name="note-basis", cache_policy=NO_CACHE, persist_result=False)
def note_basis(clinic: str, basis: str, *, by: str) -> str:
    """Record what the form attests about the legal basis; it stands also when the start is refused.

    Args:
        clinic: The clinic; may be empty where there is only one.
        basis: The basis.
        by: Who starts the transfer.

    Returns:
        Why it was refused, empty where it was not.
    """
    ledger = open_ledger()
    try:
        if not by.strip():
            raise ConfigurationError(
                problem="The legal basis was chosen, and nobody was named who attests it.",
                remedy="Fill in who starts the transfer.",
                code="basis_unnamed",
            )
        attest(ledger, chosen_clinic(ledger, clinic), Basis(basis), by=by.strip())
    except IdentAmocrmError as error:
        get_run_logger().warning("Refused: %s", error)
        return refusal_text(error)
    return ""


@task(name="consider", cache_policy=NO_CACHE, persist_result=False)
def consider(run_id: str, clinic: str, window: Window, *, rehearse: bool) -> dict[str, Any]:
    """Look at the conditions and, before a first or wider load, count what it would write.

    Args:
        run_id: The flow run.
        clinic: The clinic; may be empty where there is only one.
        window: ``history_days``, ``ahead_days`` and ``deals``.
        rehearse: Whether the operator wants to see the count in any case.

    Returns:
        ``refused`` with the reasons, or whether to ``ask``, with the ``markdown`` to show.
    """
    settings = load_settings()
    ledger = open_ledger(settings)
    scope = f"flow-run:{run_id}"
    if (asked := ledger.setting(scope, ASKED)) is not None:
        return asked  # the run was resumed: the answer is about what was shown then
    record = None
    try:
        record = chosen_clinic(ledger, clinic)
        launch, wider = wanted_launch(ledger, record, database_day(ledger, record), **window)
        first = wider or not ledger.applied_count(record.clinic_uid, Kind.LEAD)
        if not first and not rehearse:
            return {"refused": "", "ask": False}
        found = preview(run_id, record.name, launch)
    except IdentAmocrmError as error:
        get_run_logger().warning("Refused: %s", error)
        if record is not None:
            emit("transfer.refused", record.clinic_uid, record.name, "error", {"code": error.code}, ledger)
        return {"refused": refusal_text(error), "ask": False}
    markdown = preview_markdown(record.name, launch, found)
    create_markdown_artifact(
        markdown, key=f"start-{slug(record.name)}", description=f"Первая передача «{plain(record.name)}»"
    )
    told = {
        "refused": "",
        "ask": rehearse or found.live > settings.confirm_deals,
        "markdown": markdown,
    }
    if told["ask"]:
        ledger.put_setting(scope, ASKED, told, by="start-transfer", history=False)
    return told


@task(name="begin", cache_policy=NO_CACHE, persist_result=False)
def begin(clinic: str, window: Window, *, by: str, notify: str) -> tuple[bool, str]:
    """Start the transfer: the conditions are looked at once more, a form may have waited for a day.

    Args:
        clinic: The clinic; may be empty where there is only one.
        window: ``history_days``, ``ahead_days`` and ``deals``.
        by: Who starts it.
        notify: A notification block of Prefect, ``type/name``; empty for none.
    """
    ledger = open_ledger()
    try:
        record = chosen_clinic(ledger, clinic)
        today = database_day(ledger, record)
        launch = start_transfer(ledger, record, today, by=by, **window)
    except IdentAmocrmError as error:
        get_run_logger().warning("Refused: %s", error)
        return False, refusal_text(error)
    scope = f"clinic:{record.clinic_uid}"
    if (ledger.setting(scope, NOTIFY) or {}).get("block", "") != notify:
        ledger.put_setting(scope, NOTIFY, {"block": notify}, by=by)
    since = f"{launch.from_day:%d.%m.%Y}" if launch.from_day else "начала"
    what = f"приёмы с {since}" if launch.deals else "только пациенты"
    return True, f"Передача «{record.name}» запущена: {what}, каждые 30 секунд"


@task(name="halt", cache_policy=NO_CACHE, persist_result=False)
def halt(clinic: str) -> tuple[bool, str]:
    """Stop the transfer."""
    ledger = open_ledger()
    try:
        record = chosen_clinic(ledger, clinic)
    except IdentAmocrmError as error:
        return False, refusal_text(error)
    if not is_started(ledger, record):
        return True, f"Передача «{record.name}» уже остановлена"
    stop_transfer(ledger, record, by="stop-transfer")
    return True, f"Передача «{record.name}» остановлена; отправленная пачка дойдёт до конца"
