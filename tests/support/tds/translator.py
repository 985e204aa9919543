"""Turns the T-SQL a client sends into DuckDB's SQL.

What a session knows (its clock, its number, its rights) becomes a parameter ``$s_...``, so that one translation serves
every session. DuckDB is not SQL Server: trailing blanks count in comparisons and in LEN, DATEPART(weekday) starts
elsewhere, '20240131' is no date, there is no CHOOSE, FOR XML, WITH TIES or temporary table. Keep tested SQL plain.
"""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, TokenError

from tests.support.tds.errors import SqlError
from tests.support.tds.result_types import Output, TypeResolver
from tests.support.tds.types import BINARY_TYPES, TEXT_TYPES, parse_type

logging.getLogger("sqlglot").setLevel(logging.ERROR)  # what it cannot read is answered, not logged

SYSTEM_SCHEMAS = {"information_schema": "info", "sys": "tsql"}
_SETTING = re.compile(
    r"""\s*(?:
      SET\s+TRANSACTION\s+ISOLATION\s+LEVEL\s+
        (?P<level>READ\s+UNCOMMITTED|READ\s+COMMITTED|REPEATABLE\s+READ|SNAPSHOT|SERIALIZABLE)
    | SET\s+IMPLICIT_TRANSACTIONS\s+(?P<implicit>ON|OFF)
    | SET\s+[A-Z_]+(?:\s*,\s*[A-Z_]+)*\s+(?:ON|OFF|-?\w+)
    | (?P<end>(?:IF\s+@@TRANCOUNT\s*>\s*0\s+)?(?:COMMIT|ROLLBACK)(?:\s+TRAN(?:SACTION)?)?)\b
    | (?P<begin>BEGIN\s+TRAN(?:SACTION)?)\b
    | USE\s+(?:\[[^\]]+\]|\w+)
    )\s*(?:;|(?=\s|$))""",
    re.IGNORECASE | re.VERBOSE,
)
_LEVELS = {"READ UNCOMMITTED": 1, "READ COMMITTED": 2, "REPEATABLE READ": 3, "SERIALIZABLE": 4, "SNAPSHOT": 5}
_FIRST_WORD = re.compile(r"[\s;(]*(?:--[^\n]*\n\s*|/\*.*?\*/\s*)*[\s(]*(\w+)", re.DOTALL)
# sqlglot reads these in T-SQL, too; SQL Server does not.
_FOREIGN = frozenset({"LIMIT", "DPIPE", "DCOLON", "ILIKE"})
_DENIED = frozenset(
    {"INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE", "CREATE", "ALTER", "DROP", "GRANT", "REVOKE", "DENY"}
    | {"EXEC", "EXECUTE", "DBCC", "BACKUP", "RESTORE", "KILL", "BULK"}
)
_PROPERTIES = {
    "productversion": "12.0.6024.0",
    "productlevel": "SP3",
    "edition": "Express Edition (64-bit)",
    "engineedition": 4,
    "collation": "Cyrillic_General_CI_AS",
}
_SESSION_FUNCTIONS = {
    "GETUTCDATE": "s_utc", "SYSUTCDATETIME": "s_utc", "MIN_ACTIVE_ROWVERSION": "s_rowversion",
    "HOST_NAME": "s_host", "APP_NAME": "s_app", "ORIGINAL_LOGIN": "s_user", "USER_NAME": "s_user",
    "SUSER_NAME": "s_user", "SUSER_SNAME": "s_user",
}  # fmt: skip
_WHOLE = frozenset({"int", "bigint", "smallint", "tinyint"})
_ROLES = frozenset({"db_datareader", "public"})
_SESSION_VARIABLES = frozenset({"version", "spid", "trancount", "servername", "dbts"})


@dataclass(frozen=True)
class Settings:
    """A SET, or the border of a transaction: nothing to read, perhaps something to remember."""

    isolation: int | None = None
    implicit: bool | None = None
    transactions: int | None = None


@dataclass(frozen=True)
class Query:
    """A SELECT for DuckDB."""

    sql: str
    parameters: frozenset[str]
    outputs: tuple[Output, ...]
    reads_tables: bool


class Translator:
    """Translates for one state of the schema."""

    def __init__(
        self, database: str, tables: Mapping[str, Mapping[str, str]], system: Mapping[str, Mapping[str, str]]
    ) -> None:
        """Takes the tables of dbo and the system views, with the declared types of their columns."""
        self._database = database
        self._names = {name.lower(): name for name in tables}
        self._resolver = TypeResolver({**system, **tables})
        kinds: dict[str, set[str]] = {}
        for columns in tables.values():
            for column, declared in columns.items():
                kinds.setdefault(column.lower(), set()).add(parse_type(declared)[0])
        self._kinds = kinds
        self._known: dict[str, list[Settings | Query]] = {}
        self._rules: dict[type[exp.Expr], Callable[[exp.Expr], exp.Expr]] = {
            exp.Parameter: self._parameter,
            exp.Column: self._column,
            exp.Cast: self._cast,
            exp.Convert: self._convert,
            exp.Add: self._add,
            exp.Div: self._divide,
            exp.National: lambda node: exp.Literal.string(node.name),
            exp.CurrentTimestamp: lambda _: session_value("s_now"),
            exp.CurrentTimestampLTZ: lambda _: session_value("s_now"),
            exp.CurrentUser: lambda _: session_value("s_user"),
            exp.CurrentSchema: lambda _: exp.Literal.string("dbo"),
            exp.ObjectId: self._object_id,
            exp.Anonymous: self._function,
        }

    def object_id(self, name: str) -> int | None:
        """The number of a table in this schema."""
        plain = name.replace("[", "").replace("]", "").split(".")[-1].lower()
        return 1000 + list(self._names).index(plain) if plain in self._names else None

    def translate(self, sql: str) -> list[Settings | Query]:
        """Translates a batch.

        Raises:
            SqlError: It is no T-SQL (102), reads what is not there (208) or would write (229).
        """
        if sql not in self._known:
            steps: list[Settings | Query] = []
            rest = sql
            while found := _SETTING.match(rest):
                steps.append(_setting(found))
                rest = rest[found.end() :]
            steps += [self._query(statement) for statement in self._parse(rest)]
            self._known[sql] = steps
        return self._known[sql]

    def _parse(self, sql: str) -> list[exp.Expr]:
        first = _FIRST_WORD.match(sql)
        if not first:
            if sql.strip(" \r\n\t;"):
                raise SqlError.syntax(sql.strip()[:20])
            return []
        word = first[1].upper()
        if word in _DENIED:
            raise SqlError.denied(word, self._database)
        if word not in {"SELECT", "WITH"}:
            raise SqlError.syntax(first[1])
        try:
            foreign = next(
                (t for t in sqlglot.tokenize(sql, read="tsql") if t.token_type.name in _FOREIGN), None
            )
            if foreign:
                raise SqlError.syntax(foreign.text)
            statements = [found for found in sqlglot.parse(sql, read="tsql") if found is not None]
        except ParseError as problem:
            near = problem.errors[0].get("highlight") if problem.errors else None
            raise SqlError.syntax(near or sql[-20:]) from None
        except TokenError:  # a text or a comment without an end
            raise SqlError.syntax(sql[-20:]) from None
        return [statement for statement in statements if not isinstance(statement, exp.Semicolon)]

    def _query(self, statement: exp.Expr) -> Query:
        if not isinstance(statement, exp.Select | exp.SetOperation | exp.Subquery) or statement.find(
            exp.Into
        ):
            raise SqlError.denied(
                "CREATE" if statement.find(exp.Into) else statement.key.upper(), self._database
            )
        outputs = tuple(self._resolver.outputs(statement))
        ctes = {cte.alias_or_name.lower() for cte in statement.find_all(exp.CTE)}
        reads = any(table.name.lower() in self._names for table in statement.find_all(exp.Table))

        copy = statement.copy()
        for node in reversed(
            list(copy.dfs())
        ):  # children first: a replaced node keeps them as they are by then
            if isinstance(node, exp.Table):
                new = self._table(node, ctes)
            else:
                rule = self._rules.get(type(node))
                new = rule(node) if rule else node
            if new is not node:
                node.replace(new)
        text = copy.sql(dialect="duckdb")
        return Query(text, frozenset(re.findall(r"\$(\w+)", text)), outputs, reads)

    # --- nodes ---

    def _table(self, node: exp.Table, ctes: set[str]) -> exp.Expr:
        schema, name = node.db.lower(), node.name.lower()
        node.set("hints", None)
        if isinstance(node.this, exp.Anonymous) and name == "fn_listextendedproperty":
            return _named("SELECT '' AS objtype, '' AS objname, '' AS name, '' AS value WHERE 1 = 0", node)
        if name in ctes and not schema:
            return node
        if schema == "sys" and name == "dm_exec_sessions":
            return _named("SELECT $s_spid AS session_id, $s_isolation AS transaction_isolation_level", node)
        node.set("catalog", None)
        if schema in SYSTEM_SCHEMAS:
            node.set("db", exp.to_identifier(SYSTEM_SCHEMAS[schema]))
        elif schema in {"", "dbo"} and name in self._names:
            node.set("db", exp.to_identifier("dbo"))
        else:
            raise SqlError.no_object(f"{node.db}.{node.name}" if schema else node.name)
        return node

    @staticmethod
    def _column(node: exp.Expr) -> exp.Expr:
        schema = node.args["db"].name.lower() if node.args.get("db") else ""
        node.set("catalog", None)
        if schema in SYSTEM_SCHEMAS:
            node.set("db", exp.to_identifier(SYSTEM_SCHEMAS[schema]))
        return node

    @staticmethod
    def _parameter(node: exp.Expr) -> exp.Expr:
        name = node.name.lower() or node.this.name.lower()
        if isinstance(node.this, exp.Parameter):  # @@NAME
            name = node.this.this.name.lower()
            if name not in _SESSION_VARIABLES:
                raise SqlError(137, f'Must declare the scalar variable "@@{name}".', 15)
            return session_value(f"s_{name}")
        if isinstance(node.parent, exp.Parameter):
            return node
        return session_value(name)

    def _cast(self, node: exp.Expr) -> exp.Expr:
        target: exp.DataType = node.args["to"]
        if self._is(node.this, BINARY_TYPES) and target.is_type(exp.DataType.Type.BIGINT):
            return exp.cast(_hexadecimal(node.this), "bigint", dialect="duckdb")
        return _typed(node.this, target)

    def _convert(self, node: exp.Expr) -> exp.Expr:
        target, value, style = node.this, node.expression, node.args.get("style")
        if target.is_type(*exp.DataType.TEXT_TYPES) and style is not None and self._is(value, BINARY_TYPES):
            text = _hexadecimal(value)
            return text if style.name == "1" else exp.Substring(this=text, start=exp.convert(3))
        if style is None:
            return self._cast(exp.Cast(this=value, to=target))
        if target.is_type(*exp.DataType.TEXT_TYPES) and target.expressions:
            return exp.Left(this=node.copy(), expression=target.expressions[0].this.copy())
        return node

    def _add(self, node: exp.Expr) -> exp.Expr:
        sides = [node.this, node.expression]
        return exp.DPipe(this=sides[0], expression=sides[1]) if any(map(self._is_text, sides)) else node

    def _divide(self, node: exp.Expr) -> exp.Expr:
        if self._is_whole(node.this) and self._is_whole(node.expression):
            return exp.IntDiv(this=node.this, expression=node.expression)
        return node

    def _is(self, node: exp.Expr, types: frozenset[str]) -> bool:
        """Whether a column's name stands for one of these types wherever it is declared."""
        if isinstance(node, exp.Anonymous) and node.name.upper() == "MIN_ACTIVE_ROWVERSION":
            return "rowversion" in types
        if isinstance(node, exp.Parameter) and node.name == "s_rowversion":
            return "rowversion" in types
        kinds = self._kinds.get(node.name.lower(), set()) if isinstance(node, exp.Column) else set()
        return bool(kinds) and kinds <= types

    def _is_whole(self, node: exp.Expr) -> bool:
        if isinstance(node, exp.Paren | exp.Max | exp.Min | exp.Sum | exp.Neg):
            return self._is_whole(node.this)
        return isinstance(node, exp.Count) or node.is_int or self._is(node, _WHOLE)

    def _is_text(self, node: exp.Expr) -> bool:
        if isinstance(node, exp.Literal):
            return node.is_string
        if isinstance(node, exp.Paren | exp.Coalesce | exp.Trim | exp.Case | exp.Add):
            return any(self._is_text(child) for child in node.iter_expressions())
        texts = exp.DPipe | exp.Left | exp.Right | exp.Substring | exp.Upper | exp.Lower
        return isinstance(node, texts) or self._is(node, TEXT_TYPES)

    def _object_id(self, node: exp.Expr) -> exp.Expr:
        return exp.convert(self.object_id(node.this.name))

    def _function(self, node: exp.Expr) -> exp.Expr:
        name, arguments = node.name.upper(), [argument.name for argument in node.expressions]
        if name in _SESSION_FUNCTIONS:
            return session_value(_SESSION_FUNCTIONS[name])
        if name == "HAS_PERMS_BY_NAME" and arguments:
            return self._permission(arguments)
        if name == "SERVERPROPERTY" and arguments and arguments[0].lower() == "servername":
            return session_value("s_servername")
        own = not arguments or arguments[0].lower() == self._database.lower()
        first = arguments[0].lower() if arguments else ""
        constants: dict[str, object] = {
            "SERVERPROPERTY": _PROPERTIES.get(first),
            "DB_NAME": self._database,
            "DB_ID": 5 if own else None,
            **dict.fromkeys(("IS_SRVROLEMEMBER", "IS_ROLEMEMBER", "IS_MEMBER"), int(first in _ROLES)),
        }
        return exp.convert(constants[name]) if name in constants else node

    def _permission(self, arguments: list[str]) -> exp.Expr:
        """HAS_PERMS_BY_NAME: NULL for what is not there."""
        if self.object_id(arguments[0]) is None:
            return exp.null()
        return exp.convert(1) if arguments[-1].upper() == "SELECT" else session_value("s_may_write")


def session_value(name: str) -> exp.Parameter:
    """A named parameter of DuckDB."""
    return exp.Parameter(this=exp.Var(this=name))


def _setting(found: re.Match[str]) -> Settings:
    if found["level"]:
        return Settings(isolation=_LEVELS[" ".join(found["level"].upper().split())])
    if found["implicit"]:
        return Settings(implicit=found["implicit"].upper() == "ON")
    if found["begin"] or found["end"]:
        return Settings(transactions=1 if found["begin"] else 0)
    return Settings()


def _named(sql: str, table: exp.Table) -> exp.Expr:
    return exp.Subquery(
        this=sqlglot.parse_one(sql, read="duckdb"),
        alias=exp.TableAlias(this=exp.to_identifier(table.alias_or_name)),
    )


def _hexadecimal(value: exp.Expr) -> exp.Expr:
    return exp.DPipe(this=exp.Literal.string("0x"), expression=exp.Anonymous(this="hex", expressions=[value]))


def _typed(value: exp.Expr, target: exp.DataType) -> exp.Expr:
    """CAST, with texts cut to their length: DuckDB's VARCHAR has none."""
    sizes = target.expressions
    if target.is_type(*exp.DataType.TEXT_TYPES):
        size = sizes[0].name if sizes else "30"
        text = exp.Cast(this=value, to=exp.DataType.build("text"))
        return exp.Left(this=text, expression=exp.convert(int(size))) if size.isdigit() else text
    if target.is_type("binary", "varbinary", "rowversion"):
        return exp.Cast(this=value, to=exp.DataType.build("blob", dialect="duckdb"))
    return exp.Cast(this=value, to=target)
