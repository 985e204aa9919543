"""When the ledger cannot be trusted: read amoCRM once, adopt what is ours, write real differences only.

That is so for an empty ledger beside an account that has our cards, for one that was restored, for one whose
hashes were made with another key or scheme. None of this may pass unnoticed: the first run after it only
counts what it would do, and is refused until a person confirms.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, Final

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from tasks.amocrm import contacts, leads
from tasks.amocrm.client import AmoClient
from tasks.errors import GuardError
from tasks.events import emit
from tasks.ledger.hashing import SCHEME, key_check
from tasks.ledger.store import Ledger
from tasks.planning.identity import first_text, parse_external_id
from tasks.records import Action, AppliedRow, Kind, PlanRow, RemoteContact, RemoteLead
from tasks.workspace import Workspace, workspace

__all__ = [
    "BASELINE",
    "adopt_marked",
    "cause_of",
    "demand_rebaseline",
    "drop_settled_links",
    "rebaseline",
    "refuse_unconfirmed",
    "settle_baseline",
    "work_on_a_copy",
]

#: Setting of a clinic: key and scheme of its hashes; why it must be compared anew, and what was counted.
BASELINE: Final = "baseline"
LETTERS: Final = {Kind.CONTACT: "P", Kind.LEAD: "A"}
MARK: Final = re.compile(r"IDENT-([a-z0-9]+)-[PA]-\d+")
#: Won and lost, in every pipeline: who closed a deal is not known any more, so it counts as closed by hand.
CLOSED: Final = frozenset({142, 143})
#: Copies of the ledger that a dry run works on; no run lasts as long as a leftover one is kept.
COPIES: Final = "dry-run-"
LEFTOVER_SECONDS: Final = 86_400.0
CAUSES: Final = {
    "empty": "the ledger is empty, but amoCRM has cards of this clinic",
    "foreign": "the ledger is empty, and amoCRM has cards of a clinic that is not connected here",
    "restored": "the ledger was restored from a backup",
    "database_changed": "the clinic's database was replaced",
    "key": "installation.key is another one than the ledger's hashes were made with",
    "scheme": "this version hashes in another way than the one that wrote the ledger",
    "unknown": "it is not known with which key the ledger's hashes were made",
}


@dataclass(slots=True)
class Found:
    """Entities of amoCRM that carry this clinic's external ids."""

    rows: dict[Kind, dict[int, AppliedRow]] = field(default_factory=lambda: {Kind.CONTACT: {}, Kind.LEAD: {}})
    twins: list[tuple[Kind, int, int]] = field(default_factory=list)  # kind, source id, amoCRM id
    strangers: int = 0  # cards with the external id of a clinic that this installation does not know

    @property
    def count(self) -> int:
        """How many contacts and deals were found."""
        return len(self.rows[Kind.CONTACT]) + len(self.rows[Kind.LEAD])


# ---- is it due? --------------------------------------------------------------------------------------------


def _scope(space: Workspace) -> str:
    return f"clinic:{space.uid}"


def _present(space: Workspace) -> dict[str, Any]:
    return {"key": key_check(space.settings.installation_key()), "scheme": SCHEME}


def cause_of(space: Workspace) -> str:
    """Return why the ledger has to be compared with amoCRM, empty when it has not."""
    stored = space.ledger.setting(_scope(space), BASELINE) or {}
    present = _present(space)
    if stored.get("due"):
        return str(stored["due"])
    if not stored.get("key"):
        known = space.ledger.applied_count(space.uid, Kind.CONTACT)
        return "unknown" if known or space.ledger.applied_count(space.uid, Kind.LEAD) else "empty"
    return next((name for name in ("key", "scheme") if stored.get(name) != present[name]), "")


def settle_baseline(space: Workspace) -> None:
    """Compare the ledger's identity with the installation's, and adopt what amoCRM has where they differ.

    Raises:
        GuardError: When nobody confirmed, and an earlier run has counted already what would be done.
    """
    cause = cause_of(space)
    if not cause and not space.rebaseline:
        return
    stored = space.ledger.setting(_scope(space), BASELINE) or {}
    counted = stored.get("counted") or {}
    if not space.rebaseline and not space.dry_run and counted.get("for") == cause:
        raise _refusal(space, counted)
    found = _read_everything(space)
    ordinary = cause == "empty" and not found.count and not found.strangers
    space.baselined = True
    if ordinary:  # a first run
        _store(space, _present(space))
        return
    if not space.dry_run and not space.rebaseline:
        space.rehearsal = {"for": cause, "strangers": 0 if found.count else found.strangers}
        space.dry_run = True
    _adopt(space, found, keep_hashes=stored.get("key") == _present(space)["key"])
    space.mode = "full"
    # Also when this run dies: the next one reads everything.
    space.ledger.move_watermark(space.uid, {})
    space.adopted = found.count
    space.warnings.append(
        f"Compared with amoCRM anew ({CAUSES.get(cause, 'asked for')}): {found.count} cards found again, "
        f"{len(found.twins)} twins."
    )
    if not space.dry_run:
        _list_twins(space, found)
        _store(space, _present(space))
        counts = {"cause": cause or "asked", "adopted": found.count, "twins": len(found.twins)}
        emit("ledger.rebaselined", space.uid, space.clinic.name, "warning", counts, space.ledger)


def refuse_when_due(space: Workspace) -> None:
    """Refuse a job that trusts the ledger while it cannot be trusted, or before the first transfer.

    Raises:
        GuardError: When the ledger must be compared with amoCRM first.
    """
    cause = cause_of(space)
    if cause:
        raise GuardError(
            problem=f"Nothing was sent: {CAUSES[cause]}.",
            remedy=f"Run first: ident-amocrm sync {space.clinic.name} (it says what it would do).",
            code="rebaseline_due",
        )


def demand_rebaseline(ledger: Ledger, clinic_uid: str, cause: str, *, by: str) -> None:
    """Note that a clinic must be compared with amoCRM before its next transfer."""
    scope = f"clinic:{clinic_uid}"
    stored = ledger.setting(scope, BASELINE) or {}
    value = {"key": stored.get("key"), "scheme": stored.get("scheme"), "due": cause}
    ledger.put_setting(scope, BASELINE, value, by=by)


def _store(space: Workspace, value: dict[str, Any]) -> None:
    if not space.dry_run:
        space.ledger.put_setting(_scope(space), BASELINE, value, by=space.run_id)


def _list_twins(space: Workspace, found: Found) -> None:
    for kind, source_id, amo_id in found.twins:
        payload = {"kind": kind.value, "source_id": source_id, "amo_id": amo_id}
        emit("twin.found", space.uid, space.clinic.name, "warning", payload, space.ledger)


def refuse_unconfirmed(space: Workspace) -> None:
    """End a run that only counted what a comparison would do.

    Raises:
        GuardError: With the counts, and how to confirm.
    """
    if not space.rehearsal:
        return
    creates = sum(row.action is Action.CREATE and row.kind in LETTERS for row in space.plan)
    cards = sum(row.kind in LETTERS for row in space.plan)
    counted = {**space.rehearsal, "adopted": space.adopted, "updates": cards - creates, "creates": creates}
    ledger = space.origin or space.ledger
    # Kept, so that the runs that follow are refused without reading everything again.
    stored = ledger.setting(_scope(space), BASELINE) or {}
    ledger.put_setting(_scope(space), BASELINE, {**stored, "counted": counted}, by=space.run_id)
    raise _refusal(space, counted)


def _refusal(space: Workspace, counted: dict[str, Any]) -> GuardError:
    name = space.clinic.name
    cause = "foreign" if counted.get("strangers") else str(counted["for"])
    more = ""
    if cause == "foreign":
        more = (
            " They would be created a second time. If this clinic was connected before, connect it under the "
            "uid in their external ids: ident-amocrm connect-database … --clinic-uid UID."
        )
    return GuardError(
        problem=(
            f"Nothing was sent: {CAUSES.get(cause, cause)}. To do: {counted['adopted']} cards to adopt, "
            f"{counted['updates']} to compare (only real differences are written), "
            f"{counted['creates']} to create.{more}"
        ),
        remedy=(
            f"To look: ident-amocrm sync {name} --dry-run. To do it: ident-amocrm sync {name} --rebaseline."
        ),
        code="rebaseline_due",
    )


# ---- what amoCRM has ---------------------------------------------------------------------------------------


def _read_everything(space: Workspace) -> Found:
    """Read all contacts and deals of the account once, in pages."""
    deals = leads.iterate_leads(space.client)
    with ThreadPoolExecutor(1, thread_name_prefix="deals") as pool:
        # Asked while contacts are read: a first run waits for both, and finds nothing.
        first = pool.submit(next, deals, None)
        space.all_contacts = list(contacts.iterate_contacts(space.client))
    found = Found()
    _sort(space, found, Kind.CONTACT, space.all_contacts)
    one = first.result()
    _sort(space, found, Kind.LEAD, deals if one is None else chain([one], deals))
    return found


def adopt_marked(space: Workspace, kind: Kind) -> None:
    """Adopt cards that carry our external id above the highest amoCRM id that the ledger knows.

    An older copy of the ledger cannot be told from inside. So before anything is created, amoCRM is read by
    descending ids down to there: what such a copy does not know of is newer than all it knows.
    """
    if space.baselined:
        return
    if kind is Kind.CONTACT:
        keys = space.patients["patient_id"]
        latest: Callable[[AmoClient, int], Iterable[RemoteContact | RemoteLead]] = (
            contacts.latest_contacts_down_to
        )
    else:
        keys = space.appointments["appointment_id"][space.appointments["rescheduled_from_id"].isna()]
        latest = leads.latest_leads_down_to
    found = Found()
    read = keys.tolist()
    if set(read) - set(space.ledger.applied_index(space.uid, kind, read).source_ids.tolist()):
        _sort(space, found, kind, latest(space.client, space.ledger.highest_applied(space.uid, kind)))
    known = set(space.ledger.applied_index(space.uid, kind, list(found.rows[kind])).source_ids.tolist())
    found.rows[kind] = {key: row for key, row in found.rows[kind].items() if key not in known}
    if not found.count:
        return
    _adopt(space, found, keep_hashes=True)
    space.warnings.append(
        f"{found.count} cards of this clinic were not in the ledger and were found in amoCRM: the ledger is "
        f"older than they are. To compare all: ident-amocrm sync {space.clinic.name} --rebaseline"
    )


def _sort(space: Workspace, found: Found, kind: Kind, remotes: Iterable[RemoteContact | RemoteLead]) -> None:
    """Pick the entities that carry an external id of this clinic; of twins the lowest id is kept."""
    mapping = space.settled_mapping()
    external = mapping.contact_external_field if kind is Kind.CONTACT else mapping.lead_external_field
    uids = {space.uid, *space.ledger.clinics()}
    index = space.ledger.applied_index(space.uid, kind)
    known = dict(zip(index.source_ids.tolist(), index.amo_ids.tolist(), strict=True))
    groups: dict[int, list[RemoteContact | RemoteLead]] = {}
    erased = space.ledger.erased(space.uid) if kind is Kind.CONTACT else frozenset()
    for remote in remotes:
        mark = first_text(remote.values, external)
        if remote.is_deleted or not mark:
            continue
        key = parse_external_id(mark, space.uid, LETTERS[kind])
        if key in erased:
            continue
        if key is not None:
            groups.setdefault(key, []).append(remote)
        elif (match := MARK.fullmatch(mark)) and match[1] not in uids:
            found.strangers += 1
    for key, group in groups.items():
        chosen = min(group, key=lambda remote: (remote.id != known.get(key), remote.id))
        found.twins += [(kind, key, remote.id) for remote in group if remote is not chosen]
        found.rows[kind][key] = _found_row(space, kind, key, chosen)
        if isinstance(chosen, RemoteLead):
            space.found_contacts[key] = chosen.contact_ids


def _found_row(space: Workspace, kind: Kind, key: int, remote: RemoteContact | RemoteLead) -> AppliedRow:
    row = AppliedRow(kind, key, remote.id, 0, {})
    if not isinstance(remote, RemoteLead):
        return row
    mapping = space.settled_mapping()
    primary = {mapping.primary.pipeline_id: True, mapping.repeat.pipeline_id: False}.get(remote.pipeline_id)
    row = replace(row, is_primary=primary)
    if remote.status_id in CLOSED:
        return row
    return replace(row, pipeline_id=remote.pipeline_id, status_id=remote.status_id)


# ---- into the ledger ---------------------------------------------------------------------------------------


def _adopt(space: Workspace, found: Found, *, keep_hashes: bool) -> None:
    """Put what was found into the ledger, content unknown; in a dry run into a copy of it."""
    if space.dry_run:
        work_on_a_copy(space)
    ours: dict[int, int] = {}
    for kind in LETTERS:
        rows = found.rows[kind]
        known = space.ledger.applied_rows(space.uid, kind, list(rows))
        index = space.ledger.applied_index(space.uid, kind)
        owners = dict(zip(index.amo_ids.tolist(), index.source_ids.tolist(), strict=True))
        # The card says whose it is; a row of the ledger that claims it for somebody else is stale.
        stale = {owners[row.amo_id] for key, row in rows.items() if owners.get(row.amo_id, key) != key}
        space.ledger.forget(space.uid, kind, stale)
        merged = [_merged(row, known.get(key), keep_hashes=keep_hashes) for key, row in rows.items()]
        space.ledger.apply_local(space.uid, space.settled_account().id, merged)
        if kind is Kind.CONTACT:
            index = space.ledger.applied_index(space.uid, kind)
            ours = dict(zip(index.amo_ids.tolist(), index.source_ids.tolist(), strict=True))
    links = [
        AppliedRow(Kind.LINK, key, contact, contact, {})
        for key in found.rows[Kind.LEAD]
        for contact in [one for one in space.found_contacts.get(key, ()) if one in ours][:1]
    ]
    space.ledger.apply_local(space.uid, space.settled_account().id, links)


def _merged(row: AppliedRow, known: AppliedRow | None, *, keep_hashes: bool) -> AppliedRow:
    """Join what was found with what the ledger knows of the same entity.

    Hashes of the same key still tell which values are ours, whenever they were sent.
    """
    if known is None or known.amo_id != row.amo_id:
        return row
    return replace(
        row,
        hashes=known.hashes if keep_hashes else {},
        is_primary=row.is_primary if known.is_primary is None else known.is_primary,
        pipeline_id=row.pipeline_id or known.pipeline_id,
        status_id=row.status_id or known.status_id,
    )


def work_on_a_copy(space: Workspace) -> None:
    """Let a dry run see what it would adopt or release, without storing it."""
    if space.origin is not None:
        return
    from tasks.ledger.backup import copy_ledger  # noqa: PLC0415 - only a dry run with something to adopt

    home = space.settings.prepare_home()
    for leftover in home.glob(f"{COPIES}*"):
        if time.time() - leftover.stat().st_mtime > LEFTOVER_SECONDS:  # its run was killed
            shutil.rmtree(leftover, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=COPIES, dir=home))
    try:
        copied = Ledger(copy_ledger(space.ledger.database, folder, scheme=SCHEME))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    space.origin, space.ledger = space.ledger, copied
    release = space.release

    def close() -> None:
        copied.close()
        shutil.rmtree(folder, ignore_errors=True)
        release()

    space.release = close


def drop_settled_links(space: Workspace, rows: list[PlanRow]) -> list[PlanRow]:
    """Leave out links that were just read in amoCRM: the deal has its patient's contact."""
    owners = {
        space.owners[row.source_id] for row in rows if row.kind is Kind.LINK and row.source_id in space.owners
    }
    index = space.ledger.applied_index(space.uid, Kind.CONTACT, owners)
    contact_of = dict(zip(index.source_ids.tolist(), index.amo_ids.tolist(), strict=True))
    return [
        row
        for row in rows
        if row.kind is not Kind.LINK
        or row.action is Action.CREATE
        or contact_of.get(space.owners.get(row.source_id)) not in space.found_contacts.get(row.source_id, ())
    ]


@task(name="rebaseline", cache_policy=NO_CACHE, persist_result=False)
def rebaseline(run_id: str, *, confirmed: bool) -> dict[str, int]:
    """Compare the ledger's identity with the installation's, and with amoCRM where they differ."""
    space = workspace(run_id)
    space.rebaseline = confirmed
    settle_baseline(space)
    if space.adopted:
        get_run_logger().warning("%d cards of this clinic were found in amoCRM and adopted", space.adopted)
    return {"adopted": space.adopted}
