"""IDENT's tables, as far as they are read. Only three are required; the rest is optional.

Names are those of real clinics' databases; what varies between versions is found by introspection.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator, TypeEngine

__all__ = ["METADATA", "OPTIONAL", "REQUIRED", "TABLES", "VARYING", "Moment", "Money"]


class Moment(TypeDecorator[Any]):
    """A time as the driver has it: ``tasks.ident.normalise`` reads a column of them at once.

    SQLite has texts, of which a datetime for each would be made before.
    """

    impl = sa.DateTime
    cache_ok = True

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> None:
        """Leave it as it is."""
        del dialect, coltype


class Money(TypeDecorator[Decimal]):
    """decimal(18,10); the sandbox's SQLite keeps it as text, because its numbers are floats."""

    impl = sa.Numeric(18, 10)
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> TypeEngine[Any]:
        """Use text on SQLite."""
        chosen = sa.Text() if dialect.name == "sqlite" else sa.Numeric(18, 10)
        return dialect.type_descriptor(chosen)

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> None:
        """Leave an amount as the driver has it: ``tasks.ident.normalise`` reads a column of them at once."""
        del dialect, coltype


_TYPES: dict[str, TypeEngine[Any]] = {
    "i": sa.Integer(),
    "s": sa.Unicode(),
    "t": Moment(),
    "m": Money(),
    "b": sa.Boolean(),
    "r": sa.LargeBinary(8),
    "a": sa.types.NullType(),  # type differs between versions: text, date or number
}

#: Table -> columns, each with the letter of its type.
_COLUMNS: dict[str, str] = {
    "Persons": "ID:i Surname:s Name:s Patronymic:s Birthday:a Sex:a Phone:a MobilePhone:a Email:s City:s "
    "DateTimeChanged:t",
    "Patients": "ID_Persons:i CardNumber:s ParentSNP:s Comment:s ID_InfoSources:i ID_ArchivingReasons:i "
    "ID_Staffs:i SMSRejection:b DateTimeChanged:t",
    "Receptions": "ID:i ID_Patients:i PlanStart:t PlanEnd:t PatientAppeared:t ReceptionStarted:t "
    "ReceptionEnded:t CheckIssued:t ReceptionCanceled:t ID_ReceptionCancelReasons:i CancelReasonComment:s "
    "ID_StaffsReceptionCanceled:i ID_ReceptionsTransferFrom:i ID_Staffs:i ID_Armchairs:i Comment:s "
    "ID_AppointmentSources:i ReceptionAdded:t DateTimeAdded:t DateTimeChanged:t RowVersion:r",
    "Staffs": "ID_Persons:i",
    "Items": "ID_Staffs:i ID_ProfessionNames:i",
    "ProfessionNames": "ID:i NameProfession:s",
    "Armchairs": "ID:i NameArmchair:s ID_OwnCompanies:i",
    "OwnCompanies": "ID:i Name:s BranchName:s",
    "InfoSources": "ID:i Name:s",
    "ArchivingReasons": "ID:i Name:s",
    "ReceptionCancelReasons": "ID:i Name:s",
    "AppointmentSources": "ID:i Name:s",
    "Orders": "ID:i ID_Receptions:i ID_Patients:i ID_OwnCompanies:i DateTimeAdded:t DateTimeChanged:t",
    "OrderServiceRelation": "ID:i ID_Orders:i ID_ServicePrices:i CountService:i DiscountSum:m "
    "DateTimeAdded:t DateTimeChanged:t",
    "ServiceItemPrices": "ID:i ID_ServiceItems:i Price:m",
    "ServiceItems": "ID:i Name:s",
    "OrderPaymentsJournal": "ID_Orders:i ID_Patients:i AmountWithDiscount:m Debt:m",
    "PaymentsIn": "ID:i ID_Patients:i DateTimeAdded:t DateTimeChanged:t",
}

METADATA = sa.MetaData(schema="dbo")
TABLES: dict[str, sa.Table] = {
    name: sa.Table(
        name,
        METADATA,
        *(
            sa.Column(column, _TYPES[letter])
            for column, letter in (item.split(":") for item in columns.split())
        ),
    )
    for name, columns in _COLUMNS.items()
}

#: Columns whose type differs between versions; whatever it is, it is read.
VARYING: frozenset[str] = frozenset(
    f"{table}.{column.name}"
    for table, found in TABLES.items()
    for column in found.columns
    if isinstance(column.type, sa.types.NullType)
)
#: What the transfer cannot do without.
REQUIRED: dict[str, frozenset[str]] = {
    "Persons": frozenset({"ID", "Surname", "Name", "Patronymic"}),
    "Patients": frozenset({"ID_Persons"}),
    "Receptions": frozenset({"ID", "ID_Patients", "PlanStart", "PlanEnd", "ReceptionCanceled"}),
}
#: What is used where it exists, all or nothing of a table.
OPTIONAL: frozenset[str] = frozenset(TABLES) - frozenset(REQUIRED)
