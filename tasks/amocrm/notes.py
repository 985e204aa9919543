"""Notes of deals; they cannot be deleted and are not idempotent, so look before you write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.amocrm import entities
from tasks.amocrm.client import AmoClient
from tasks.errors import AmbiguousWriteError

__all__ = ["add_notes", "read_notes", "replace_note"]


def read_notes(client: AmoClient, lead_id: int) -> list[tuple[int, str]]:
    """Return id and text of a deal's plain notes."""
    path = f"leads/{lead_id}/notes"
    return [
        entities.parsed(row, _note, f"GET {path}")
        for row in entities.rows(client, path, "notes", {"limit": entities.PAGE})
        if row.get("note_type") == "common"
    ]


def add_notes(client: AmoClient, notes: Sequence[tuple[int, str]]) -> list[int]:
    """Write notes: (deal, text); answers their ids.

    Raises:
        AmbiguousWriteError: When amoCRM does not name them all.
    """
    body = [{"entity_id": lead, "note_type": "common", "params": {"text": text}} for lead, text in notes]
    answer = client.post("leads/notes", body)
    named = [row["id"] for row in entities.acknowledged(answer, "notes")]
    if len(set(named)) < len(notes):
        raise AmbiguousWriteError(
            problem="amoCRM accepted a note but does not name it.",
            remedy="Nothing is written twice: the next run reads the notes of the deal first.",
            code="not_named",
        )
    return named


def replace_note(client: AmoClient, lead_id: int, note_id: int, text: str) -> None:
    """Give a plain note another text; repeating is harmless."""
    body = {"id": note_id, "entity_id": lead_id, "note_type": "common", "params": {"text": text}}
    client.patch("leads/notes", [body])


def _note(row: dict[str, Any]) -> tuple[int, str]:
    return entities.row_id(row), entities.text((row.get("params") or {}).get("text"))
