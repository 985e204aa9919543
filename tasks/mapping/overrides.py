"""Putting what was chosen for one clinic back among the account's choices."""

from __future__ import annotations

from tasks.mapping.model import ClinicOverride, FieldRule
from tasks.mapping.model import Mapping as CardMapping

__all__ = ["with_choice"]

PARTS = ("primary", "repeat", "filters", "deal_name", "responsible_user_id", "responsible")


def with_choice(mapping: CardMapping, clinic_uid: str, chosen: CardMapping) -> CardMapping:
    """Return the account's mapping with what one clinic does otherwise.

    Args:
        mapping: The account's mapping.
        clinic_uid: The clinic; empty when the choice is everybody's.
        chosen: The mapping as that clinic is to follow it.
    """
    if not clinic_uid:
        return chosen
    own: dict[str, object] = {
        name: getattr(chosen, name) for name in PARTS if getattr(chosen, name) != getattr(mapping, name)
    }
    for card in ("contact", "lead"):
        shared: list[FieldRule] = getattr(mapping, card)
        own[card] = [rule for rule in getattr(chosen, card) if rule not in shared]
    override = ClinicOverride.model_validate(
        {name: value.model_dump() if hasattr(value, "model_dump") else value for name, value in own.items()}
    )
    clinics = {uid: one for uid, one in mapping.clinics.items() if uid != clinic_uid}
    if override != ClinicOverride():
        clinics[clinic_uid] = override
    return mapping.model_copy(update={"clinics": clinics})
