"""Reading amoCRM once, page by page, and keeping of each entity what the comparison needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from tasks.adoption import LETTERS, mark
from tasks.amocrm import contacts, leads
from tasks.destination import AmoDestination, MappedCards
from tasks.loading.ports import Place, Remote
from tasks.mapping import cards
from tasks.mapping.model import FieldRule, Policy
from tasks.planning.diff import GONE_HASH
from tasks.planning.identity import parse_external_id
from tasks.reconciling.judge import Judgement, Sight, StageView, judge
from tasks.records import AppliedRow, Kind, RemoteLead
from tasks.workspace import Workspace

__all__ = ["observe"]

#: Entities that are judged together: their rows of the ledger are read at once.
TOGETHER = 250
RESCHEDULED = "rescheduled"
#: Data whose change does more than write a value, so they are never made due for the mark's sake.
STEERING = frozenset({"patient_id", "stage", "start_at"})


def observe(space: Workspace, kind: Kind) -> list[Sight]:
    """Look at every contact or deal of the account that is this clinic's, by its mark or by the ledger.

    What the pages did not show is asked for by id before it counts as deleted: entities that a person deletes
    while pages are read shift others to pages that were read already.
    """
    index = space.ledger.applied_index(space.uid, kind)
    rows = zip(index.amo_ids, index.source_ids, index.row_hashes, strict=True)
    holders = {int(amo_id): int(key) for amo_id, key, row_hash in rows if row_hash != GONE_HASH}
    everything: Iterator[Remote] = iter(
        contacts.iterate_contacts(space.client) if kind is Kind.CONTACT else leads.iterate_leads(space.client)
    )
    sights: list[Sight] = []
    while page := list(islice(everything, TOGETHER)):
        sights += _look(space, kind, page, holders)
    unseen = sorted(holders.keys() - {sight.amo_id for sight in sights})
    for start in range(0, len(unseen), TOGETHER):
        found = AmoDestination(space.client).read(kind, unseen[start : start + TOGETHER])
        sights += _look(space, kind, found.values(), holders)
    return sights


def _look(space: Workspace, kind: Kind, page: Iterable[Remote], holders: dict[int, int]) -> list[Sight]:
    """Judge entities of this clinic; all others are forgotten."""
    space.guard()
    view, erased = _View(space, kind), space.ledger.erased(space.uid) if kind is Kind.CONTACT else ()
    mine = [(remote, view.marked(remote)) for remote in page if not remote.is_deleted]
    mine = [(remote, key) for remote, key in mine if key is not None or remote.id in holders]
    mine = [(remote, key) for remote, key in mine if key not in erased]
    keys = {holders[remote.id] for remote, _key in mine if remote.id in holders}
    known = space.ledger.applied_rows(space.uid, kind, keys)
    return [view.sight(remote, key, holders.get(remote.id), known) for remote, key in mine]


class _View:
    """The mapping and the cards of one kind, as far as judging needs them."""

    def __init__(self, space: Workspace, kind: Kind) -> None:
        self.space, self.kind = space, kind
        self.mapping = space.settled_mapping()
        self.cards = MappedCards(self.mapping, space.pipelines, space.contact_fields, space.clinic.timezone)
        rules = self.mapping.contact if kind is Kind.CONTACT else self.mapping.lead
        self.unacknowledged = space.ledger.unacknowledged(space.uid, kind)
        self.rules: Sequence[FieldRule] = [rule for rule in rules if rule.policy is not Policy.NEVER]

    def marked(self, remote: Remote) -> int | None:
        """Return the source id that the entity's mark names."""
        text = self.cards.external_ids(self.kind, remote)
        return parse_external_id(text, self.space.uid, LETTERS[self.kind])

    def sight(
        self, remote: Remote, marked: int | None, holder: int | None, known: dict[int, AppliedRow]
    ) -> Sight:
        """Return what is kept of an entity."""
        taken = False
        if holder is None:
            account_id = self.space.settled_account().id
            owner = self.space.ledger.owner_of(account_id, self.kind, remote.id)
            taken = owner is not None and owner[0] != self.space.uid
        deal = remote if isinstance(remote, RemoteLead) else None
        return Sight(
            amo_id=remote.id,
            marked=marked,
            held_by=holder,
            taken=taken,
            place=(deal.pipeline_id, deal.status_id) if deal else None,
            contact_ids=deal.contact_ids if deal else (),
            judgement=self._judgement(remote, holder, known) if holder in known else None,
        )

    def _judgement(self, remote: Remote, key: int | None, rows: dict[int, AppliedRow]) -> Judgement | None:
        table = self.space.cards[self.kind]
        if key is None or key not in table:
            return None
        known, hashes = rows[key], table.hashes_of(key)
        written, yielded = self._decide(remote, key, known, hashes)
        full = cards.filled(self.rules, remote, self.mapping.account_timezone)
        yielding = {rule.datum for rule in self.rules if rule.policy is Policy.OVERWRITE_UNLESS_EDITED}
        emptied = (written & yielding) - full
        quiet = next(
            (
                rule.datum
                for rule in self.rules
                if rule.datum not in written | STEERING and hashes[rule.datum] == known.hashes.get(rule.datum)
            ),
            None,
        )
        stage = self._stage(remote, key, known) if isinstance(remote, RemoteLead) else None
        return judge(sorted(written), sorted(yielded), emptied, quiet, hashes, known, stage)

    def _decide(
        self, remote: Remote, key: int, known: AppliedRow, hashes: dict[str, int]
    ) -> tuple[set[str], set[str]]:
        """Ask the policies what they would write and what they would leave, were every datum due.

        The ledger is taken as a repair would leave it: what it believes to be sent is unknown then.
        """
        texts = self.space.cards[self.kind].texts(key)

        def sent(datum: str, text: str) -> bool:
            before, hashed = known.hashes.get(datum, 0), self.space.hasher.hash_value(self.kind, datum, text)
            if any(row.hashes.get(datum, 0) == hashed for row in self.unacknowledged.get(key, ())):
                return True
            return before != hashes[datum] and before == hashed

        out = self.space.left_out.get(self.kind, {}).get(key, frozenset())
        rules = [rule for rule in self.rules if rule.datum not in out]
        single = [rule.datum for rule in rules if rule.field_type == "multitext"]
        together = tuple(rule.datum for rule in rules if rule.field_type != "multitext")
        written: set[str] = set()
        yielded: set[str] = set()
        # Phones share a field, so each is asked about alone: one that differs must not name the others.
        for changed in (together, *((datum,) for datum in single)):
            change = self.cards.change(
                self.kind,
                texts,
                external_id=mark(self.space, self.kind, key),
                create=False,
                changed=changed,
                remote=remote,
                sent=sent,
            )
            written.update(change.written)
            yielded.update(change.yielded)
        return written, yielded

    def _stage(self, remote: RemoteLead, key: int, known: AppliedRow) -> StageView:
        is_primary, stage_key = self.space.primaries[key], self.space.stage_keys[key]
        current = (remote.pipeline_id, remote.status_id)
        wanted = self.cards.place(is_primary=is_primary, stage_key=stage_key)
        last: Place | None = None
        if known.pipeline_id is not None and known.status_id is not None:
            last = (known.pipeline_id, known.status_id)
        waiting = stage_key == "planned"
        return StageView(
            current=current,
            wanted=wanted,
            also_right=self.cards.place(is_primary=is_primary, stage_key=RESCHEDULED) if waiting else None,
            last_sent=last,
            may_move=wanted is not None
            and self.cards.may_move(current=current, last_sent=last, target=wanted, stage_key=stage_key),
        )
