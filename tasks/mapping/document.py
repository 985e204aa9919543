"""The mapping as a YAML file: exported, kept in version control, imported into the same account."""

from __future__ import annotations

from typing import Any, Final

import yaml
from pydantic import ValidationError

from tasks.errors import MappingError
from tasks.mapping.model import Mapping as CardMapping

__all__ = ["read_document", "write_document"]

HEADER: Final = """\
# Настройка передачи IDENT → amoCRM. Номера — это номера воронок, этапов и полей в аккаунте amoCRM.
# policy: overwrite, overwrite_unless_edited, fill_empty, create_only, never («Не передавать»).
# stages: номер этапа для каждого статуса, null — не менять; exceptions — этапы, которых передача не трогает.
# Загрузить: ident-amocrm mapping import ФАЙЛ (неизвестные ключи не принимаются).
"""


def write_document(mapping: CardMapping) -> str:
    """Return a mapping as a file that a person may read and edit."""
    data = mapping.model_dump(mode="json")
    return HEADER + yaml.safe_dump(data, allow_unicode=True, sort_keys=False, width=110)


def read_document(text: str) -> CardMapping:
    """Read a mapping from a file.

    Raises:
        MappingError: When it is no YAML, has unknown or missing keys, or values of the wrong kind.
    """
    try:
        data: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"not readable YAML at line {mark.line + 1}" if mark is not None else "not readable YAML"
        raise _refused(where) from None
    try:
        return CardMapping.model_validate(data)
    except ValidationError as error:
        named = "; ".join(
            f"{'.'.join(str(part) for part in one['loc']) or 'file'}: {one['msg']}"
            for one in error.errors()[:5]
        )
        raise _refused(named) from None


def _refused(cause: str) -> MappingError:
    return MappingError(
        problem=f"The file is no mapping: {cause}.",
        remedy="Start from: ident-amocrm mapping export FILE. The mapping in force was not changed.",
        code="mapping_document",
    )
