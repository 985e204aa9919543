"""Cards as canonical text: one rendering that is hashed, compared and sent.

Instants are ``2026-03-12T07:00:00Z``, days ``1990-05-17``, money ``1500.00``, counts ``3``, flags ``1`` and
``0``, selects their Russian label. Text is cut to what amoCRM stores (255 characters in a text field or a
name; 3000 in a textarea, the length an integration of the same kind settled on), before it is hashed: what
cannot be stored must not count as a difference.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tasks.frames import CONTACT_DATA, LEAD_DATA, text_column
from tasks.mapping.catalogue import PRIMARY_LABELS, SEX_LABELS, STATUS_LABELS
from tasks.mapping.model import DEAL_NAME

__all__ = ["TEXTAREA_LENGTH", "TEXT_LENGTH", "contact_texts", "lead_texts"]

TEXT_LENGTH: Final = 255
TEXTAREA_LENGTH: Final = 3000
#: What separates the parts of a deal's name.
SEPARATOR: Final = " · "
TEXTAREAS: Final = frozenset({"comment", "services", "cancel_comment"})


def contact_texts(patients: pd.DataFrame) -> pd.DataFrame:
    """Render canonical patients.

    Args:
        patients: A canonical patients frame.

    Returns:
        Columns ``CONTACT_DATA`` of dtype ``str`` (missing where there is nothing), indexed by
        ``patient_id`` (int64).
    """
    columns = {name: _render(patients[name], name) for name in CONTACT_DATA if name in patients}
    middle = patients["middle_name"].fillna("")
    both = (patients["first_name"].fillna("") + " " + middle).str.strip()
    columns["first_name"] = both.mask(both == "").str.slice(0, TEXT_LENGTH)
    columns["sex"] = patients["sex"].map(SEX_LABELS)
    return _frame(columns, CONTACT_DATA, patients["patient_id"])


def lead_texts(deals: pd.DataFrame, zone: ZoneInfo, deal_name: str = DEAL_NAME) -> pd.DataFrame:
    """Render deals.

    Args:
        deals: Canonical appointments with ``root_id`` and ``stage_key``, one row per deal.
        zone: The clinic's zone, for the time in a deal's name.
        deal_name: What a deal is called, made of ``DEAL_NAME_PARTS``.

    Returns:
        Columns ``LEAD_DATA`` of dtype ``str``, indexed by ``root_id`` (int64).
    """
    columns = {name: _render(deals[name], name) for name in LEAD_DATA if name in deals}
    columns["name"] = _names(deals, zone, deal_name)
    columns["price"] = columns["amount"]
    columns["status"] = deals["status"].map(STATUS_LABELS)
    columns["is_primary"] = deals["is_primary"].map(PRIMARY_LABELS)
    columns["patient_id"] = deals["patient_id"].astype("str")
    columns["stage"] = deals["stage_key"]
    return _frame(columns, LEAD_DATA, deals["root_id"])


def _render(values: pd.Series, name: str) -> pd.Series:
    rendered: pd.Series
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        rendered = _instants(values)
    elif isinstance(values.dtype, pd.ArrowDtype):
        rendered = text_column(pa.array(values.array), values.index)
    elif values.dtype.kind == "M":
        rendered = values.dt.strftime("%Y-%m-%d")
    elif values.dtype.kind == "b":
        rendered = values.map({True: "1", False: "0"})
    elif isinstance(values.dtype, pd.StringDtype):
        rendered = values.str.slice(0, TEXTAREA_LENGTH if name in TEXTAREAS else TEXT_LENGTH).str.strip()
    else:
        rendered = values.astype(object).map(str, na_action="ignore").where(values.notna())
    return rendered


def _instants(values: pd.Series) -> pd.Series:
    """Return instants as Arrow writes them: ten times as fast as by a format."""
    stamps = values.dt.tz_convert(None).to_numpy().astype("datetime64[s]")
    written = pa.array(stamps).cast(pa.string())
    zulu = pc.binary_join_element_wise(pc.replace_substring(written, " ", "T"), "Z", "")
    return text_column(zulu, values.index)


def _local(starts: pd.Series, zone: ZoneInfo, form: str) -> pd.Series:
    """Return times on the clinic's wall; many appointments begin at one time, which is written once."""
    codes, found = pd.factorize(starts)
    written = pd.Series(pd.DatetimeIndex(found).tz_convert(zone).strftime(form), dtype="str")
    return written.reindex(codes).set_axis(starts.index)  # what is missing has the code -1


def _names(deals: pd.DataFrame, zone: ZoneInfo, deal_name: str) -> pd.Series:
    """Return «Приём 12.03.2026 10:00 · Петров П. П.»; no patient's name, so that a rename moves no deal.

    A part between separators is left out when everything that it names is empty.
    """
    starts = deals["start_at"]
    short = {doctor: _short(doctor) for doctor in deals["doctor"].dropna().unique()}
    known: dict[str, Callable[[], pd.Series]] = {
        "start": lambda: _local(starts, zone, "%d.%m.%Y %H:%M"),
        "date": lambda: _local(starts, zone, "%d.%m.%Y"),
        "time": lambda: _local(starts, zone, "%H:%M"),
        "doctor": lambda: deals["doctor"].map(short),
        "kind": lambda: deals["is_primary"].map(PRIMARY_LABELS),
    }
    nothing = pd.Series("", index=deals.index, dtype="str")
    names = nothing
    for part in deal_name.split(SEPARATOR):
        # Text, name, text, name, …, text.
        literals = re.split(r"\{(\w+)\}", part)
        text = nothing + literals[0]
        is_empty: Any = len(literals) > 1
        for name, literal in zip(literals[1::2], literals[2::2], strict=True):
            part_of = known[name]() if name in known else deals.get(name, nothing)
            values = part_of.astype("str").fillna("")
            is_empty &= values == ""
            text = text + values + literal
        text = text.mask(pd.Series(is_empty, index=deals.index), "")
        names = names + text.where((names == "") | (text == ""), SEPARATOR + text)
    shown: pd.Series = names.str.slice(0, TEXT_LENGTH)
    return shown


def _short(full_name: str) -> str:
    surname, *others = full_name.split()
    return " ".join([surname, *(f"{part[0]}." for part in others)])


def _frame(columns: dict[str, pd.Series], order: tuple[str, ...], keys: pd.Series) -> pd.DataFrame:
    frame = pd.DataFrame({name: columns[name].astype("str") for name in order})
    frame.index = pd.Index(keys.astype("int64"), name=keys.name)
    return frame
