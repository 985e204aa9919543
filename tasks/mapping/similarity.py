"""How alike two names are: of fields, pipelines and stages, as people in clinics write them.

Names are compared by their words: case, «ё», punctuation, our prefix and words that say nothing are dropped,
endings are cut (plural, case), and what means the same in Russian and English becomes one word. rapidfuzz
then forgives a letter. A word that turns the meaning round (not, first, last) must stand on both sides.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import cache
from typing import Final, TypeVar

from rapidfuzz import fuzz

__all__ = ["ALIKE", "SAME", "assign", "likeness", "plain"]

#: From here on two names count as meaning the same.
ALIKE: Final = 86.0
SAME: Final = 100.0
#: How alike single words must be, below which one of them means something else.
WORD: Final = 78.0
#: How many words one name may have more than the other.
MORE_WORDS: Final = 0

_NOTHING: Final = (
    "ident идент id crm amocrm из в во на с со к по и или для от пациент пациента клиент клиента",
    "patient patients client the a an of in to and s поле field сделка этап воронка pipeline стадия stage",
)
#: Words that say nothing about which datum it is.
EMPTY: Final = frozenset(word for line in _NOTHING for word in line.split())
#: Words that turn the meaning round.
TURNING: Final = frozenset(
    {"не", "без", "нет", "not", "no", "non", "первый", "первич", "последний", "повтор", "отказ", "друг"}
)
#: Endings of Russian and English words, longest first.
ENDINGS: Final = (
    *("иями", "ями", "ами", "ого", "его", "ому", "ему", "ыми", "ими", "ией", "иях", "ях", "ах"),
    *("ов", "ев", "ей", "ий", "ый", "ой", "ая", "яя", "ое", "ее", "ые", "ие", "ых", "их", "ую", "юю"),
    *("ам", "ям", "ом", "ем", "ии", "ия", "ию", "es", "а", "я", "ы", "и", "у", "ю", "о", "е", "ь", "s"),
)
#: A stem keeps at least so many letters.
SHORTEST: Final = 4

#: One meaning a line: the first word stands for all of them.
_MEANINGS: Final = (
    "фамилия surname lastname",
    "телефон тел phone mobile мобильный",
    "почта email mail emailы имейл емейл",
    "рождение birth birthday др днр dob birthdate",
    "пол gender sex",
    "город city town",
    "карта карточка медкарта амбкарта chart card medcard",
    "номер n no number num",
    "представитель опекун guardian parent representative родитель",
    "комментарий примечание заметка comment note remark",
    "источник source канал",
    "реклама рекламный advertising ad ads marketing маркетинг привлечение",
    "врач доктор стоматолог doctor dentist physician",
    "лечащий attending",
    "архив архивация архивный archive archived",
    "причина reason",
    "смс sms рассылка",
    "визит посещение visit приём прием appointment reception запись",
    "первый first",
    "последний last latest",
    "первичный первичка primary новый new",
    "повторный повторник повтор repeat repeated вторичный followup",
    "завершён завершенный завершение закончен окончен completed done finished состоялся",
    "всего количество кол колво total count число",
    "долг задолженность debt",
    "начало start begin starts",
    "окончание конец end finish",
    "дата date",
    "время time",
    "статус состояние status state",
    "пришёл прибыл явился arrived came",
    "начат started",
    "счёт bill invoice",
    "выдан выставлен issued",
    "отмена отменён отменен отмененный cancelled canceled cancellation cancel",
    "специальность специализация speciality specialty specialization профессия",
    "кабинет кресло cabinet room chair",
    "филиал клиника branch clinic location отделение",
    "услуга процедура service services procedure",
    "сумма стоимость amount sum price",
    "оплачено оплата оплаченный paid payment",
    "вид тип kind type",
    "создан создание created creation",
    "запланирован назначен записан planned scheduled booked забронирован",
    "перенесён перенос rescheduled moved переносённый",
    "идёт progress процесс inprogress",
    "отказ optout",
    "неявка noshow",
)


def _stem(word: str) -> str:
    if len(word) > SHORTEST:
        for ending in ENDINGS:
            if word.endswith(ending) and len(word) - len(ending) >= SHORTEST:
                return word[: -len(ending)]
    return word


def plain(name: str) -> str:
    """Return a name without what people do not mean by it: case, «ё», spaces, punctuation."""
    text = unicodedata.normalize("NFKC", name).casefold().replace("ё", "е")
    return " ".join(re.sub(r"[^\w]+|_", " ", text).split())


_CANON: Final[dict[str, str]] = {
    _stem(plain(word)): _stem(plain(line.split()[0])) for line in _MEANINGS for word in line.split()
}


@cache
def _words(name: str) -> tuple[str, ...]:
    """Return the meanings of a name's words, sorted."""
    raw = plain(name).replace("no show", "noshow").replace("e mail", "email").replace("follow up", "followup")
    raw = raw.replace("не пришел", "неявка").replace("не явился", "неявка").replace("in progress", "progress")
    raw = raw.replace("не пришли", "неявка").replace("opt out", "optout").replace("кол во", "количество")
    kept = [word for word in raw.split() if word not in EMPTY] or raw.split()
    return tuple(sorted({_CANON.get(_stem(word), _stem(word)) for word in kept}))


_TURNING: Final = frozenset(_CANON.get(_stem(word), _stem(word)) for word in TURNING)


def likeness(left: str, right: str) -> float:
    """Return how alike two names are, 0 to 100."""
    if plain(left) == plain(right):
        return SAME
    ours, theirs = _words(left), _words(right)
    if ours == theirs:
        return SAME - 1
    if set(ours) & _TURNING != set(theirs) & _TURNING or abs(len(ours) - len(theirs)) > MORE_WORDS:
        return 0.0
    short, long = sorted((ours, theirs), key=len)
    if any(max(fuzz.ratio(word, other) for other in long) < WORD for word in short):
        return 0.0
    return min(fuzz.ratio(" ".join(ours), " ".join(theirs)), SAME - 2)


Wanted = TypeVar("Wanted", bound=Hashable)
Found = TypeVar("Found")


def assign(
    wanted: Sequence[Wanted],
    found: Sequence[Found],
    score: Callable[[Wanted, Found], float],
    least: float = ALIKE,
) -> dict[Wanted, tuple[Found, float]]:
    """Give each wanted element the most similar one found, each found one once.

    The best pairs are made first; of equals the first in order, so that the same account always gets the same
    answer.
    """
    pairs: Iterable[tuple[float, int, int]] = sorted(
        (-value, row, column)
        for row, one in enumerate(wanted)
        for column, other in enumerate(found)
        if (value := score(one, other)) >= least
    )
    chosen: dict[Wanted, tuple[Found, float]] = {}
    taken: set[int] = set()
    for value, row, column in pairs:
        if wanted[row] not in chosen and column not in taken:
            chosen[wanted[row]] = (found[column], -value)
            taken.add(column)
    return chosen
