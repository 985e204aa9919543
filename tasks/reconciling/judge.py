"""One entity of amoCRM, judged against its card and what the ledger says was sent."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from tasks.records import AppliedRow

__all__ = ["Judgement", "Sight", "StageView", "judge", "judge_stage"]

Place = tuple[int, int]  # pipeline id, status id
StageVerdict = Literal["", "behind", "left"]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What differs in one entity; names of data only.

    Attributes:
        behind: Data that IDENT changed since they were sent: the next plan writes them by itself.
        ours: Data that the ledger believes to be in amoCRM and that are not: to be made due again.
        edited: Data that a person edited and that stay so.
        stage: How the deal's stage stands.
        quiet: A datum that can be made due without anything of it being written, where there is one.
    """

    behind: tuple[str, ...] = ()
    ours: tuple[str, ...] = ()
    edited: tuple[str, ...] = ()
    stage: StageVerdict = ""
    quiet: str | None = None


@dataclass(frozen=True, slots=True)
class Sight:
    """What is kept of an entity of amoCRM once its page was read: ids and names, nothing personal.

    Attributes:
        amo_id: amoCRM's id.
        marked: The source id that its mark names, where it carries a mark of this clinic.
        held_by: The source id to which the ledger says it belongs.
        taken: Whether it belongs to another clinic of the account.
        place: Where a deal stands.
        contact_ids: The contacts of a deal.
        judgement: What differs, where its card and what was sent are known.
    """

    amo_id: int
    marked: int | None = None
    held_by: int | None = None
    taken: bool = False
    place: Place | None = None
    contact_ids: tuple[int, ...] = ()
    judgement: Judgement | None = None


@dataclass(frozen=True, slots=True)
class StageView:
    """What decides about a deal's stage.

    Attributes:
        current: Where it stands.
        wanted: Where it belongs; ``None`` for «не менять».
        also_right: Where a rescheduled deal waits until its patient comes.
        last_sent: Where we last put it, as far as known.
        may_move: Whether the stage rules allow the move from ``current`` to ``wanted``.
    """

    current: Place
    wanted: Place | None
    also_right: Place | None = None
    last_sent: Place | None = None
    may_move: bool = False


def judge(
    written: Collection[str],
    yielded: Collection[str],
    emptied: Collection[str],
    quiet: str | None,
    card: Mapping[str, int],
    known: AppliedRow,
    stage: StageView | None = None,
) -> Judgement:
    """Tell whose each difference is.

    Args:
        written: Data that the policies would write, were all data due.
        yielded: Data that the policies would leave to a person.
        emptied: Of those written, data that yield to a person's edit and of which amoCRM holds nothing.
        quiet: A datum that would not be written, were it due.
        card: Hash of each datum as IDENT has it.
        known: What the ledger says was sent.
        stage: For deals, what decides about the stage.

    Returns:
        The judgement. A datum that the ledger takes for sent and a person emptied is the person's edit:
        making it due would fill it again.
    """
    behind: list[str] = []
    ours: list[str] = []
    edited = list(yielded)
    for datum in written:
        if known.hashes.get(datum, 0) != card[datum]:
            behind.append(datum)
        elif datum in emptied:
            edited.append(datum)
        else:
            ours.append(datum)
    verdict: StageVerdict = ""
    if stage is not None:
        sent = known.hashes.get("stage", 0) == card["stage"]
        verdict = judge_stage(stage, sent=sent)
        if verdict == "behind" and not sent:
            behind.append("stage")
            verdict = ""
    return Judgement(tuple(behind), tuple(ours), tuple(sorted(edited)), verdict, quiet)


def judge_stage(view: StageView, *, sent: bool) -> StageVerdict:
    """Tell whether a deal is behind, or left where somebody put it.

    Args:
        view: Where it stands, where it belongs, where we put it.
        sent: Whether the ledger says that this stage was sent.
    """
    if view.wanted is None or view.current in {view.wanted, view.also_right}:
        return ""
    moved_by_a_person = sent and view.last_sent is not None and view.last_sent != view.current
    return "left" if moved_by_a_person or not view.may_move else "behind"
