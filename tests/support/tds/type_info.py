"""sp_datatype_info: pyodbc asks it at every connection how long its parameters may be."""

from tests.support.tds.database import Result
from tests.support.tds.protocol import Column
from tests.support.tds.types import wire_type

# ODBC's number of a type -> SQL Server's names and sizes.
_TYPES = {
    93: [("datetime2", 27), ("datetime", 23)],
    -9: [("nvarchar", 4000)],
    -8: [("nchar", 4000)],
    -10: [("ntext", 2**30 - 1)],
    12: [("varchar", 8000)],
    1: [("char", 8000)],
    -1: [("text", 2**31 - 1)],
    -3: [("varbinary", 8000)],
    -2: [("binary", 8000)],
    -4: [("image", 2**31 - 1)],
}
_COLUMNS = {
    "TYPE_NAME": "sysname", "DATA_TYPE": "smallint", "PRECISION": "int", "LITERAL_PREFIX": "nvarchar(32)",
    "LITERAL_SUFFIX": "nvarchar(32)", "CREATE_PARAMS": "nvarchar(32)", "NULLABLE": "smallint",
    "CASE_SENSITIVE": "smallint", "SEARCHABLE": "smallint", "UNSIGNED_ATTRIBUTE": "smallint", "MONEY": "smallint",
    "AUTO_INCREMENT": "smallint", "LOCAL_TYPE_NAME": "sysname", "MINIMUM_SCALE": "smallint",
    "MAXIMUM_SCALE": "smallint", "SQL_DATA_TYPE": "smallint", "SQL_DATETIME_SUB": "smallint",
    "NUM_PREC_RADIX": "int", "INTERVAL_PRECISION": "smallint", "USERTYPE": "smallint",
}  # fmt: skip


def describe_type(number: int) -> Result:
    """The answer for one of ODBC's types; empty for one pyodbc does not size parameters by."""
    columns = tuple(Column(name, wire_type(declared)) for name, declared in _COLUMNS.items())
    rows = tuple(
        (
            name,
            number,
            size,
            "'",
            "'",
            None,
            1,
            1,
            3,
            None,
            0,
            None,
            name,
            None,
            None,
            number,
            None,
            None,
            None,
            0,
        )
        for name, size in _TYPES.get(number, [])
    )
    return Result(columns, rows)
