"""IDENT's tables as SQLAlchemy metadata and as declared T-SQL types.

Source: the project's IDENT facts, section 5(b). Written apart from the connector's own reading schema on
purpose: a mistake there must not be repeated here.
"""

import re
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Time,
    TypeDecorator,
    event,
)
from sqlalchemy.types import TypeEngine

SCALE = Decimal("0.0000000001")
"""IDENT keeps money as decimal(18,10)."""


class Money(TypeDecorator[Decimal]):
    """decimal(18,10) kept as text: SQLite's own numbers are floats and lose the last digits."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> str | None:
        """Write ten decimals, so that equal amounts are equal texts."""
        del dialect
        return None if value is None else str(value.quantize(SCALE))

    def process_result_value(self, value: Any | None, dialect: Dialect) -> Decimal | None:
        """Read the exact amount back."""
        del dialect
        return None if value is None else Decimal(str(value))


# One line a column: name, T-SQL type, then KEY (primary key), IDENTITY, REQUIRED (NOT NULL), > Table.Column.
_AUDIT = """
ID_StaffsAdded int
DateTimeAdded datetime
ID_StaffsChanged int
DateTimeChanged datetime
"""
_DICTIONARY = """
ID int KEY
Name nvarchar(200)
Archive bit
"""
_TABLES: dict[str, str] = {
    "Persons": """
        ID int KEY IDENTITY
        Surname nvarchar(100)
        Name nvarchar(100)
        Patronymic nvarchar(100)
        Birthday date
        Sex tinyint
        Phone nvarchar(50)
        MobilePhone nvarchar(50)
        Email nvarchar(200)
        City nvarchar(200)
        DateTimeChanged datetime
    """,
    "InfoSources": _DICTIONARY,
    "ArchivingReasons": _DICTIONARY,
    "ReceptionCancelReasons": _DICTIONARY,
    "AppointmentSources": _DICTIONARY,
    "DiscountGroupMembers": """
        ID int KEY
        Name nvarchar(200)
    """,
    "Staffs": """
        ID_Persons int KEY > Persons.ID
        Archive bit
    """,
    "ProfessionNames": """
        ID int KEY
        NameProfession nvarchar(200)
        ID_Roles int
        Archive bit
    """,
    "Items": """
        ID int KEY IDENTITY
        ID_Staffs int REQUIRED > Staffs.ID_Persons
        ID_ProfessionNames int REQUIRED > ProfessionNames.ID
    """,
    "OwnCompanies": """
        ID int KEY
        Name nvarchar(200)
        BranchName nvarchar(200)
    """,
    "Armchairs": """
        ID smallint KEY
        NameArmchair nvarchar(100)
        ID_OwnCompanies int > OwnCompanies.ID
        Archive bit
    """,
    "Patients": """
        ID_Persons int KEY > Persons.ID
        FirstVisit date
        MinStatus tinyint
        InitialBalance decimal(18,10)
        InitialTreatmentSum decimal(18,10)
        ParentSNP nvarchar(300)
        ID_Agents int
        JobPlace nvarchar(300)
        Profession nvarchar(200)
        CardNumber nvarchar(64)
        Comment nvarchar(max)
        AdditionalComment nvarchar(max)
        ID_InfoSources int > InfoSources.ID
        ID_StaffInfoSources int
        ID_ArchivingReasons int > ArchivingReasons.ID
        ID_Staffs int > Staffs.ID_Persons
        ConformToSending bit
        SMSRejection bit
        BillIsNecessary bit
        EGISZRejection bit
        PatientToothInfo nvarchar(max)
        FirstConsultation datetime
        FirstTreat datetime
        ExternalUID nvarchar(100)
        ID_StaffsChanged int
        DateTimeChanged datetime
        PatientNumber nvarchar(64)
        Status tinyint
        ID_OldProgram int
    """,
    "Receptions": f"""
        ID int KEY IDENTITY
        ID_Patients int > Patients.ID_Persons
        ID_StaffsReceptionAdded int
        ReceptionAdded datetime
        Comment nvarchar(max)
        ID_DeliveryNotifications int
        DateTimeNotified datetime
        IsNotified bit
        PatientAppeared datetime
        ReceptionStarted datetime
        ReceptionEnded datetime
        CheckIssued datetime
        PlanStart datetime
        PlanEnd datetime
        ID_Staffs int > Staffs.ID_Persons
        ID_Armchairs smallint > Armchairs.ID
        NeedHandReminder bit
        ID_ReceptionCancelReasons int > ReceptionCancelReasons.ID
        CancelReasonComment nvarchar(max)
        ID_StaffsReceptionCanceled int
        ReceptionCanceled datetime
        ID_ReceptionsTransferFrom int > Receptions.ID
        ID_ExternalProviders int
        ExternalProviderComment nvarchar(max)
        ID_AppointmentSources int > AppointmentSources.ID
        ExternalUID nvarchar(100)
        RowVersion rowversion REQUIRED
        {_AUDIT}
    """,
    "Times": """
        ID smallint KEY
        TimeStartValue time(0)
        TimeEndValue time(0)
    """,
    "CurrentTimeTable": """
        ID int KEY IDENTITY
        RowVersion rowversion REQUIRED
        DateOfWork date REQUIRED
        ID_Times smallint REQUIRED > Times.ID
        ID_Armchairs smallint REQUIRED > Armchairs.ID
        ID_Staffs int
        ID_Receptions int > Receptions.ID
        ID_TimeReserves int
        IsWorkingTime bit
        IsHeaderCell bit
    """,
    "Orders": f"""
        ID int KEY IDENTITY
        DateTimeOrder datetime
        ID_OwnCompanies int > OwnCompanies.ID
        ID_Receptions int > Receptions.ID
        ID_Patients int
        ID_Staffs int
        ID_StaffsAssistant int
        DateTimeBillFormed datetime
        ID_StaffsGaveDiscount int
        ID_DiscountGroupMembers int
        DiscountGroupMemberNumber nvarchar(50)
        {_AUDIT}
        DateTimeBill datetime
        IsBillFormed bit
        RoundLength int
        ID_ReceptionsForUnique int
    """,
    "ServiceItems": """
        ID int KEY
        Name nvarchar(500)
        NotAService bit
    """,
    "ServiceItemPrices": """
        ID int KEY
        ID_ServiceItems int REQUIRED > ServiceItems.ID
        Price decimal(18,10) REQUIRED
        ID_ServicePriceGroups int
        DateTimeFrom datetime
        DateTimeTo datetime
    """,
    "OrderServiceRelation": f"""
        ID int KEY IDENTITY
        ID_Orders int REQUIRED > Orders.ID
        ID_TreatmentPlanElementRelations int
        ID_ServicePrices int > ServiceItemPrices.ID
        CountService int REQUIRED
        TeethLong bigint
        DiscountSum decimal(18,10)
        DeferredDiscountSum decimal(18,10)
        IsWarranty bit
        ID_Returns int
        {_AUDIT}
    """,
    "PaymentsIn": f"""
        ID int KEY IDENTITY
        DateTimePayment datetime
        ID_OwnCompanies int
        ID_Patients int
        ID_CashDescs int
        ID_ServiceGroups int
        ID_Staffs int
        Payment decimal(18,10) REQUIRED
        {_AUDIT}
        DatePayment date
    """,
    "OrderPaymentsJournal": """
        ID_Orders int KEY
        DateTimeBill datetime
        ID_Patients int
        ID_Staffs int
        IsBillFormed bit
        IsShop bit
        Amount decimal(18,10)
        AmountWithDiscount decimal(18,10)
        Debt decimal(18,10)
    """,
    "ScheduledReceptions": """
        ID int KEY IDENTITY
        ID_Patients int
        ID_Receptions int
        ID_CRMJobTypes int
        ID_OwnCompanies int
        ID_Staffs int
        Comment nvarchar(max)
        Length int
        ID_ReceptionsClose int
        ID_ReceptionCancelReasons int
        DateTimeAdded datetime
        DateTimeChanged datetime
    """,
    "OnlineTickets": """
        ID int KEY IDENTITY
        ID_OwnCompanies int
        DateTimeCreated datetime
        PhoneSource nvarchar(100)
        PhoneOutInt bigint
        EmailOut nvarchar(200)
        PatientFullName nvarchar(300)
        PlanStart datetime
        PlanEnd datetime
        Comment nvarchar(max)
        FormName nvarchar(200)
        IsTrash bit
        RowVersion rowversion REQUIRED
    """,
}

STAFFS_VIEW = (
    "SELECT s.ID_Persons AS ID, p.Surname, p.Name, p.Patronymic, s.Archive "
    "FROM Staffs s JOIN Persons p ON p.ID = s.ID_Persons"
)
"""The select behind the view StaffsView."""

_SQL_TYPES: dict[str, TypeEngine[Any]] = {
    "int": Integer(),
    "smallint": SmallInteger(),
    "tinyint": SmallInteger(),
    "bigint": BigInteger(),
    "bit": Boolean(),
    "date": Date(),
    "datetime": DateTime(),
    "time": Time(),
    "decimal": Money(),
    "nvarchar": Text(),
    "rowversion": LargeBinary(8),
}
_INDEXED: dict[str, tuple[str, ...]] = {
    "Receptions": ("ID_Patients", "PlanStart", "DateTimeChanged", "ID_ReceptionsTransferFrom", "RowVersion"),
    "Patients": ("DateTimeChanged",),
    "Persons": ("DateTimeChanged",),
    "Orders": ("ID_Receptions", "ID_Patients", "DateTimeChanged"),
    "OrderServiceRelation": ("ID_Orders", "DateTimeChanged"),
    "OrderPaymentsJournal": ("ID_Patients",),
    "PaymentsIn": ("ID_Patients", "DateTimeChanged"),
    "CurrentTimeTable": ("ID_Receptions", "RowVersion"),
    "OnlineTickets": ("RowVersion",),
    "ScheduledReceptions": ("ID_Patients", "ID_Receptions"),
}


def _column(line: str) -> Column[Any]:
    name, declared, *rest = line.split()
    reference = [ForeignKey(rest[rest.index(">") + 1])] if ">" in rest else []
    key = "KEY" in rest
    return Column(
        name,
        _SQL_TYPES[re.split(r"\W", declared)[0]],
        *reference,
        primary_key=key,
        autoincrement="IDENTITY" in rest,
        nullable=not (key or "REQUIRED" in rest),
    )


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _build() -> MetaData:
    built = MetaData()
    for name, text in _TABLES.items():
        table = Table(name, built, *(_column(line) for line in _lines(text)))
        for column in _INDEXED.get(name, ()):
            Index(f"IX_{name}_{column}", table.c[column])
    event.listen(built, "after_create", DDL(f"CREATE VIEW StaffsView AS {STAFFS_VIEW}"))  # type: ignore[no-untyped-call]
    event.listen(built, "before_drop", DDL("DROP VIEW IF EXISTS StaffsView"))  # type: ignore[no-untyped-call]
    return built


TSQL_TYPES: dict[str, dict[str, str]] = {
    name: dict(line.split()[:2] for line in _lines(text)) for name, text in _TABLES.items()
}
"""Table -> column -> declared T-SQL type, for a server that must answer with IDENT's own types."""

METADATA: MetaData = _build()
"""IDENT's tables and the view StaffsView, without a schema name."""

ROW_VERSIONED: frozenset[str] = frozenset(
    name for name, columns in TSQL_TYPES.items() if "RowVersion" in columns
)
"""Tables whose RowVersion the server stamps at every write."""

FOREIGN_KEYS: tuple[tuple[str, str, str, str], ...] = tuple(
    (table.name, key.parent.name, key.column.table.name, key.column.name)
    for table in METADATA.sorted_tables
    for key in sorted(table.foreign_keys, key=lambda found: found.parent.name)
)
"""(table, column, referred table, referred column) of every foreign key."""
