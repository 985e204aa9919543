"""Data about health and treatment by name on the command line, and the warning of a file that has them."""

from __future__ import annotations

import pytest

from deployments.cli.configure import chosen_special
from tasks.errors import ConfigurationError
from tasks.mapping.catalogue import SPECIAL


def test_data_are_named_as_everywhere_on_the_command_line() -> None:
    assert chosen_special("") == frozenset()
    assert chosen_special("all") == SPECIAL
    assert chosen_special("deal.services, contact.comment") == {"lead.services", "contact.comment"}
    for wrong in ("deal.doctor", "lead.services", "everything", "all,deal.services"):
        with pytest.raises(ConfigurationError, match="special category"):
            chosen_special(wrong)
