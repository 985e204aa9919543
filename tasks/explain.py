"""Explaining one row: why it is, or is not, in amoCRM."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from tasks.blocks import slug
from tasks.connections import open_ledger
from tasks.errors import ConfigurationError, NotConnectedError
from tasks.evidence import collect
from tasks.explaining.reasons import WORDS
from tasks.explaining.story import Language, Story, tell
from tasks.frames import Entity
from tasks.hints import HINTS
from tasks.ledger.store import ConnectionRecord, Ledger
from tasks.markdown import plain
from tasks.settings import load_settings

__all__ = ["chosen_clinic", "explain_row", "story_markdown", "tell_row"]

RUSSIAN = Language.RUSSIAN


def chosen_clinic(ledger: Ledger, name: str | None) -> ConnectionRecord:
    """Return the named clinic, or the only one.

    Raises:
        NotConnectedError: When there is none of this name, or none at all.
        ConfigurationError: When there are several and none was named.
    """
    if name:
        return ledger.connection(name)
    known = ledger.connections()
    if not known:
        raise NotConnectedError(
            problem="No clinic is connected.",
            remedy="Run: ident-amocrm connect-database NAME --host … --password-file …",
        )
    if len(known) > 1:
        names = ", ".join(record.name for record in known)
        raise ConfigurationError(
            problem=f"Several clinics are connected ({names}); ids are unique only inside one.",
            remedy="Name one with --clinic.",
            code="clinic_needed",
        )
    return known[0]


def explain_row(ledger: Ledger, clinic: str | None, entity: Entity, source_id: int) -> Story:
    """Tell the story of one row.

    Args:
        ledger: The installation's ledger.
        clinic: The clinic's name; may be left out where only one is connected.
        entity: Patient or appointment.
        source_id: Its id in IDENT.

    Raises:
        ConfigurationError: When the clinic is not connected or not named.
    """
    return tell(collect(ledger, load_settings(), chosen_clinic(ledger, clinic), entity, source_id))


def story_markdown(story: Story) -> str:
    """Return the operator's page, in Russian, without personal data."""
    facts = story.facts
    mark = "✅" if story.judgement.is_transferred else "🔴"
    lines = [
        f"## {WORDS[facts.entity.value].capitalize()} {facts.source_id} («{plain(facts.clinic)}»)",
        "",
        f"{mark} **{plain(story.verdict(RUSSIAN))}**",
        "",
        f"- **Что делать.** {plain(story.remedy(RUSSIAN))}",
        f"- **Следующая попытка.** {plain(story.next_try(RUSSIAN))}",
    ]
    if facts.card_url:
        lines.append(f"- [Открыть карточку в amoCRM]({facts.card_url})")
    for heading, told in groupby(story.lines, lambda line: line.heading(RUSSIAN)):
        lines += ["", f"### {heading}", ""]
        for line in told:
            code = str(line.values.get("error") or "")
            lines.append(f"- {plain(line.text(RUSSIAN))} {HINTS.get(code, '')}".rstrip())
    return "\n".join(lines)


@task(name="explain", cache_policy=NO_CACHE, persist_result=False)
def tell_row(clinic: str | None, entity: str, source_id: int) -> dict[str, Any]:
    """Publish the story of one row as an artifact."""
    story = explain_row(open_ledger(), clinic, Entity(entity), source_id)
    name, number = story.facts.clinic, story.facts.source_id
    artifact_id = create_markdown_artifact(
        story_markdown(story),
        key=f"explain-{slug(name)}-{entity}-{number}",
        description=f"Почему: {WORDS[entity]} {number}, «{plain(name)}»",
    )
    get_run_logger().info("%s %d: %s", entity, number, story.judgement.verdict.value)
    return {**story.as_dict(), "artifact": str(artifact_id), "message": story.verdict(RUSSIAN)}
