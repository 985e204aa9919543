"""What an analyst reads of reasons that no suite has."""

from __future__ import annotations

import re

import pytest

from tasks.explaining.refusals import DEPENDENT, REMEDIES, refusal_text
from tasks.planning.holding import FOR_A_PERSON, NOT_IN_AMOCRM, PATIENT_BACK
from tasks.validate import CHAIN

LISTED = sorted({CHAIN, PATIENT_BACK, NOT_IN_AMOCRM, "stage_not_mapped", "note_refused", *FOR_A_PERSON})


@pytest.mark.parametrize("reason", LISTED)
def test_our_own_reasons_have_their_own_words(reason: str) -> None:
    meaning, remedy = refusal_text(reason)
    assert reason not in meaning
    assert remedy == REMEDIES[reason]
    assert re.match("[А-Я]|amoCRM", meaning)


@pytest.mark.parametrize("code", ["NotSupportedChoice", "InvalidType", "FieldMissing", "TooLong"])
def test_amocrms_codes_are_explained(code: str) -> None:
    meaning, remedy = refusal_text(code)
    assert code not in meaning
    assert "rejects retry" in remedy


def test_an_unknown_code_is_named() -> None:
    meaning, remedy = refusal_text("SomethingNew")
    assert "SomethingNew" in meaning
    assert "rejects retry" in remedy


def test_rows_that_wait_for_another_are_the_ones_we_list() -> None:
    assert {CHAIN, PATIENT_BACK} <= DEPENDENT
