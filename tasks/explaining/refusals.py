"""What an analyst reads about a row that no rule of the suites holds back: what happened, what to do.

Reasons of the suites bring their own texts. These here are amoCRM's answers, rows that only depend on another
one, and rows that wait for a person's word.
"""

from __future__ import annotations

from typing import Final

from tasks.explaining.reasons import REASONS

__all__ = ["DEPENDENT", "REMEDIES", "refusal_text"]

RETRY: Final = "затем верните строку в очередь (rejects retry или review-rejects)."
#: Reasons of rows that are good themselves: another row has to be put right.
DEPENDENT: Final = frozenset({"chain_held_back", "patient_kept_back"})
#: What amoCRM's own codes mean; the others stand in ``REASONS``.
ANSWERS: Final[dict[str, str]] = {
    "patient_kept_back": "пациент этого приёма не передан",
    "NotSupportedChoice": "amoCRM не знает такого значения: варианта списка, поля, этапа или пользователя",
    "InvalidType": "поле amoCRM не того типа, какой нужен этому значению",
    "FieldMissing": "в amoCRM не заполнено обязательное поле",
    "FieldNotExpected": "amoCRM не ждёт такого поля",
    "InvalidFormat": "значение не того вида, какого ждёт поле amoCRM",
    "TooLong": "значение длиннее, чем вмещает поле amoCRM",
    "validation_rejected": "amoCRM отклонила карточку, не назвав поля",
    "not_found": "amoCRM не нашла карточку",
    "not_processed": "amoCRM не смогла обработать карточку",
    "row": "amoCRM отклонила карточку",
}
#: Reason -> what to do.
REMEDIES: Final[dict[str, str]] = {
    "chain_held_back": "Исправьте в IDENT приём этой цепочки переносов, который не прошёл проверку.",
    "patient_kept_back": "Исправьте карточку пациента в IDENT: его приёмы передадутся вместе с ним.",
    "several_candidates": f"Объедините в amoCRM контакты этого пациента, {RETRY}",
    "not_in_amocrm": f"Если карточка нужна, восстановите её из корзины amoCRM, {RETRY}",
    "maybe_removed": f"Проверьте корзину amoCRM; если карточку удалили не намеренно, {RETRY}",
    "many_past_moves": "Если этапы этих сделок должны смениться, верните строки в очередь.",
    "stage_not_mapped": "Выберите этап для этого статуса: configure-mapping, блок «Воронки и этапы».",
    "note_refused": f"Проверьте права интеграции на примечания, {RETRY}",
    "NotSupportedChoice": f"Проверьте поле и этап: ident-amocrm mapping check, autoconfigure; {RETRY}",
    "InvalidType": f"Выберите поле другого типа: configure-mapping; {RETRY}",
    "FieldMissing": f"Снимите обязательность поля в amoCRM или заполните данное в IDENT, {RETRY}",
    "FieldNotExpected": f"Запустите autoconfigure, {RETRY}",
    "InvalidFormat": f"Исправьте данное в IDENT или выберите другое поле: configure-mapping; {RETRY}",
    "TooLong": f"Сократите данное в IDENT или выберите поле «текстовая область»: configure-mapping; {RETRY}",
    "not_found": f"Если карточка нужна, восстановите её из корзины amoCRM, {RETRY}",
}
ANY_REMEDY: Final = f"Исправьте данное в IDENT или поле в настройке (configure-mapping), {RETRY}"


def refusal_text(reason: str) -> tuple[str, str]:
    """Return what a reason means and what to do about it, in Russian."""
    known = REASONS.get(reason)
    meaning = ANSWERS.get(reason) or (known[1] if known else f"amoCRM отклонила карточку, код {reason}")
    if not meaning.startswith("amoCRM"):
        meaning = meaning[:1].upper() + meaning[1:]
    return meaning, REMEDIES.get(reason, ANY_REMEDY)
