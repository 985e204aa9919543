"""From what clinics type to canonical values."""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.ident import normalise

MOSCOW, BERLIN = ZoneInfo("Europe/Moscow"), ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("8 (916) 123-45-67", "+79161234567"),
        ("89161234567", "+79161234567"),
        ("8.916.123.45.67", "+79161234567"),
        ("+7 916 123-45-67", "+79161234567"),
        ("7 916 123 45 67", "+79161234567"),
        ("916 123-45-67", "+79161234567"),
        (" +7\u00a0916\u00a01234567 ", "+79161234567"),
        (79161234567, "+79161234567"),
        (89161234567, "+79161234567"),
        (9161234567, "+79161234567"),
        (Decimal(79161234567), "+79161234567"),
        (79161234567.0, "+79161234567"),
        ("+375 29 123-45-67", "+375291234567"),
        (375291234567, "+375291234567"),
        ("375291234567", "+375291234567"),
        (37491234567, "+37491234567"),
        ("+7 701 123 45 67", "+77011234567"),
        ("+49 1512 3456789", "+4915123456789"),
        ("+1 650-253-0000", "+16502530000"),
        ("8-800-555-35-35", "+78005553535"),
        ("8 495 123-45-67 доб. 12", "+74951234567"),
    ],
)
def test_a_phone_in_any_spelling(typed: str | float | Decimal, expected: str) -> None:
    assert normalise.phone(typed) == expected


@pytest.mark.parametrize(
    "typed",
    [
        "89161234567, 89031234567",
        "89161234567; 89031234567",
        "89161234567/89031234567",
        "8 916 123 45 67 и 8 903 123 45 67",
        "89161234567 или 89031234567",
        "89161234567 89031234567",
        "89161234567\n89031234567",
        "8916-123-45-67 мама, 8903-123-45-67 папа",
        "моб. 89161234567 (жена)",
    ],
)
def test_the_first_of_several_phones_counts(typed: str) -> None:
    assert normalise.phone(typed) == "+79161234567"


@pytest.mark.parametrize("typed", [None, "", "   ", "-", "—", "нет", "НЕТ", " Нет ", "0", 0, "н/д"])
def test_no_phone_is_nothing(typed: str | None) -> None:
    assert normalise.phone(typed) is None


@pytest.mark.parametrize(
    "typed",
    [
        "12-34",
        "8916",
        "+7 (916) 12",
        "не помнит",
        "00000",
        "123-45-67",
        "8916123456789161234567",
        "891612345678",
    ],
)
def test_what_is_no_phone_is_kept_for_validation(typed: str) -> None:
    assert normalise.phone(typed) == typed


@given(st.integers(9_000_000_000, 9_999_999_999), st.sampled_from(["{}", "8{}", "7{}", "+7{}"]))
def test_a_text_and_a_number_are_the_same_phone(national: int, form: str) -> None:
    typed = form.format(national)
    assert normalise.phone(typed) == normalise.phone(int(typed.lstrip("+")))


@given(
    st.sampled_from(["", "8", "7", "+7", "+8", "8-", "(+7)", "-7 "]),
    st.text("0123456789", min_size=9, max_size=10),
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from(" ()-")), max_size=4),
)
@example("8", "300092619", [])
def test_the_short_way_to_a_mobile_number_is_the_library_s(
    before: str, digits: str, between: list[tuple[int, str]]
) -> None:
    typed = f"9{digits}"
    for place, sign in between:
        typed = typed[:place] + sign + typed[place:]
    short = normalise.phone.__wrapped__(before + typed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(normalise, "MOBILE", re.compile("(?!)"))
        assert normalise.phone.__wrapped__(before + typed) == short


@given(st.one_of(st.text(max_size=30), st.integers(0, 10**15), st.none()))
def test_a_phone_never_disappears_or_breaks(typed: str | int | None) -> None:
    found = normalise.phone(typed)
    shown = normalise.text(typed)
    assert (found is None) == (shown is None or shown.casefold() in normalise.NO_PHONE)
    assert normalise.phone(found) == found


@pytest.mark.parametrize(
    "stored",
    [
        date(1990, 2, 1),
        datetime(1990, 2, 1),
        datetime(1990, 2, 1, 23, 59),
        "1990-02-01",
        "1990-02-01 00:00:00.000",
        "1990-02-01T00:00:00",
        "01.02.1990",
        " 01.02.1990 ",
        "01.02.1990 0:00:00",
        "1.2.1990",
        "1.2.1990 0:00:00",
        "01.02.1990г.",
        "01/02/1990",
    ],
)
def test_a_birthday_of_any_type(stored: object) -> None:
    assert normalise.days([stored])[0] == pd.Timestamp(1990, 2, 1)


@pytest.mark.parametrize(
    "stored",
    [
        None,
        "",
        "нет",
        "31.02.1990",
        "29.02.1900",
        "00.00.0000",
        "01.13.1990",
    ],
)
def test_what_is_no_day_is_no_birthday(stored: object) -> None:
    assert pd.isna(normalise.days([stored])[0])


def test_sentinels_and_nonsense_years_are_left_for_validation() -> None:
    found = normalise.days([date(1, 1, 1), "31.02.1990", date(1990, 2, 1), "01.01.1900", date(9999, 12, 31)])
    assert found.dtype == "datetime64[us]"
    assert found.notna().tolist() == [True, False, True, True, True]
    assert (found[0].year, found[3], found[4].year) == (1, pd.Timestamp(1900, 1, 1), 9999)
    assert normalise.days(["29.02.2000"])[0] == pd.Timestamp(2000, 2, 29)


@pytest.mark.parametrize(
    "stored",
    [
        datetime(1900, 1, 1),
        datetime(1900, 1, 1, 0, 0, 0, 3000),
        datetime(1753, 1, 1),
        datetime(9999, 12, 31, 23, 59),
        None,
    ],
)
def test_sentinel_times_are_missing(stored: datetime | None) -> None:
    found = normalise.local_times([stored, datetime(2026, 1, 1, 9)])
    assert found.isna().tolist() == [True, False]


@pytest.mark.parametrize(
    ("zone", "local", "utc"),
    [
        (MOSCOW, "2026-03-12 13:40", "2026-03-12 10:40"),
        (BERLIN, "2026-01-15 12:00", "2026-01-15 11:00"),
        (BERLIN, "2026-07-15 12:00", "2026-07-15 10:00"),
        # The clocks go back: 02:30 happens twice and counts as its first time.
        (BERLIN, "2026-10-25 01:59", "2026-10-24 23:59"),
        (BERLIN, "2026-10-25 02:30", "2026-10-25 00:30"),
        (BERLIN, "2026-10-25 03:00", "2026-10-25 02:00"),
        # The clocks go forward: 02:30 does not exist and moves to 03:00.
        (BERLIN, "2026-03-29 01:59", "2026-03-29 00:59"),
        (BERLIN, "2026-03-29 02:30", "2026-03-29 01:00"),
        (BERLIN, "2026-03-29 03:00", "2026-03-29 01:00"),
        # Russia changed its offsets without summer time, too.
        (MOSCOW, "2014-10-26 01:30", "2014-10-25 21:30"),
        (MOSCOW, "2010-07-01 12:00", "2010-07-01 08:00"),
        (MOSCOW, "2012-01-01 12:00", "2012-01-01 08:00"),
        (MOSCOW, "2015-01-01 12:00", "2015-01-01 09:00"),
    ],
)
def test_the_zone_is_applied_at_the_date(zone: ZoneInfo, local: str, utc: str) -> None:
    found = normalise.instants(normalise.local_times([datetime.fromisoformat(local), None]), zone)
    assert found.tolist() == [pd.Timestamp(utc, tz="UTC"), pd.NaT]
    assert found.dtype == "datetime64[us, UTC]"


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("1.0050000000", "1.01"),
        ("2.6750000000", "2.68"),
        ("0.0049999999", "0.00"),
        ("-1.0050000000", "-1.01"),
        ("1000", "1000.00"),
        ("99999999.9999999999", "100000000.00"),
    ],
)
def test_money_is_rounded_half_up(stored: str, shown: str) -> None:
    found = normalise.money([Decimal(stored), None])
    assert found.isna().tolist() == [False, True]
    assert str(found[0]) == shown
    assert isinstance(found[0], Decimal)


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        (1, "male"),
        ("1", "male"),
        ("М", "male"),
        ("муж.", "male"),
        (2, "female"),
        (" Ж ", "female"),
        ("f", "female"),
    ]
    + [(value, None) for value in (None, 0, 3, "", "?")],
)
def test_sex(stored: object, shown: str | None) -> None:
    found = normalise.sex([stored, None])
    assert (None if pd.isna(found[0]) else found[0]) == shown


def test_texts_have_one_form() -> None:
    found = normalise.texts(["  Йод ", "Йод", "", " \t\n", None, 42])
    assert found[0] == found[1] == "Йод"
    assert found.isna().tolist() == [False, False, True, True, True, False]
    assert found[5] == "42"


@pytest.mark.parametrize("size", [0, 3])
def test_a_column_without_values_has_its_type(size: int) -> None:
    nothing = [None] * size
    assert normalise.texts(nothing).dtype == "str"
    assert normalise.days(nothing).dtype == "datetime64[us]"
    assert normalise.local_times(nothing).dtype == "datetime64[us]"
    assert normalise.instants(normalise.local_times(nothing), MOSCOW).dtype == "datetime64[us, UTC]"
    assert str(normalise.money(nothing).dtype) == "decimal128(18, 2)[pyarrow]"
    assert normalise.flags(nothing).dtype == bool
    assert normalise.sex(nothing).dtype == "str"
