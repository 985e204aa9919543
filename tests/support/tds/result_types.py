"""Tells what T-SQL would call the columns of a query and of which type they would be.

DuckDB forgets that a TIMESTAMP was declared ``datetime`` and counts in 64 bits; a client sees the difference.
"""

from collections.abc import Callable, Mapping

from sqlglot import exp

from tests.support.tds.types import TEXT_TYPES, parse_type

Columns = Mapping[str, str | None]  # lower-case name -> declared type, None where only DuckDB knows
Output = tuple[str, str | None]


class TypeResolver:
    """Follows columns through aliases, subqueries and common table expressions to their declarations."""

    def __init__(self, tables: Mapping[str, Mapping[str, str]]) -> None:
        """Takes table -> column -> declared type."""
        self._tables: dict[str, dict[str, str]] = {
            table.lower(): dict(found) for table, found in tables.items()
        }
        self._rules: dict[type[exp.Expr], Callable[[exp.Expr, Mapping[str, Columns]], str | None]] = {
            exp.Column: self._column,
            exp.Paren: lambda node, scope: self._type(node.this, scope),
            exp.Max: lambda node, scope: self._type(node.this, scope),
            exp.Min: lambda node, scope: self._type(node.this, scope),
            exp.Cast: lambda node, _: str(node.args["to"].sql(dialect="tsql")).lower(),
            exp.Convert: lambda node, _: str(node.this.sql(dialect="tsql")).lower(),
            exp.Count: lambda node, _: "bigint" if node.args.get("big_int") else "int",
            exp.Sum: self._sum,
            exp.Coalesce: lambda node, scope: self._common([node.this, *node.expressions], scope),
            exp.Case: self._case,
            exp.Subquery: self._scalar,
            exp.CurrentTimestamp: lambda *_: "datetime",
            exp.Anonymous: self._function,
        }

    def outputs(self, query: exp.Expr, known: Mapping[str, list[Output]] | None = None) -> list[Output]:
        """The columns of a query: name (empty where T-SQL gives none) and type."""
        query = query.unnest() if isinstance(query, exp.Subquery) else query
        ctes = dict(known or {})
        common = query.args.get("with_")
        for cte in common.expressions if common else []:
            ctes[cte.alias_or_name.lower()] = self.outputs(cte.this, ctes)
        if isinstance(query, exp.SetOperation):
            return self.outputs(query.this, ctes)
        scope = self._scope(query, ctes)
        found: list[Output] = []
        for item in query.expressions:
            if isinstance(item, exp.Star) or (
                isinstance(item, exp.Column) and isinstance(item.this, exp.Star)
            ):
                found += self._star(query, ctes, item.table if isinstance(item, exp.Column) else "")
            else:
                # T-SQL names a column after a column or an alias, nothing else.
                name = item.alias_or_name if isinstance(item, exp.Alias | exp.Column) else ""
                found.append((name, self._type(item.unalias(), scope)))
        return found

    def _sources(self, query: exp.Expr) -> list[exp.Expr]:
        start = query.args.get("from_")
        joins = query.args.get("joins") or []
        return ([start.this] if start else []) + [join.this for join in joins]

    def _of_source(self, source: exp.Expr, ctes: Mapping[str, list[Output]]) -> list[Output]:
        if isinstance(source, exp.Subquery):
            return self.outputs(source, ctes)
        name = source.name.lower()
        if name in ctes:
            return ctes[name]
        return list(self._tables.get(name, {}).items())

    def _scope(self, query: exp.Expr, ctes: Mapping[str, list[Output]]) -> dict[str, Columns]:
        # A scalar subquery may look at these, too: `ctes` carries nothing of them, its own sources come first.
        return {
            source.alias_or_name.lower(): _by_name(self._of_source(source, ctes))
            for source in self._sources(query)
        }

    def _star(self, query: exp.Expr, ctes: Mapping[str, list[Output]], table: str) -> list[Output]:
        return [
            output
            for source in self._sources(query)
            if not table or source.alias_or_name.lower() == table.lower()
            for output in self._of_source(source, ctes)
        ]

    def _type(self, node: exp.Expr, scope: Mapping[str, Columns]) -> str | None:
        rule = self._rules.get(type(node))
        return rule(node, scope) if rule else None

    def _column(self, node: exp.Expr, scope: Mapping[str, Columns]) -> str | None:
        name, table = node.name.lower(), node.args["table"].name.lower() if node.args.get("table") else ""
        for alias, columns in scope.items():
            if (not table or table == alias) and name in columns:
                return columns[name]
        return None

    def _sum(self, node: exp.Expr, scope: Mapping[str, Columns]) -> str | None:
        name, numbers = parse_type(self._type(node.this, scope) or "int")
        if name in {"decimal", "numeric"}:
            return f"decimal(38,{numbers[1] if len(numbers) > 1 else 0})"
        if isinstance(node.this, exp.Column) and self._type(node.this, scope) is None:
            return None
        return {"tinyint": "int", "smallint": "int", "int": None}.get(name, name) or self._sum_of_int(node)

    @staticmethod
    def _sum_of_int(node: exp.Expr) -> str | None:
        # SUM(1.5 * x): only where every number in it is whole does T-SQL sum up to an int.
        whole = all(literal.is_int for literal in node.find_all(exp.Literal))
        return "int" if whole and not node.find(exp.Div, exp.Mul) else None

    def _common(self, nodes: list[exp.Expr], scope: Mapping[str, Columns]) -> str | None:
        """The one type of several branches; texts of several lengths are left to DuckDB."""
        types = {self._type(node, scope) for node in nodes if not isinstance(node, exp.Literal | exp.Null)}
        found = types.pop() if len(types) == 1 else None
        return None if found is None or parse_type(found)[0] in TEXT_TYPES else found

    def _case(self, node: exp.Expr, scope: Mapping[str, Columns]) -> str | None:
        branches = [branch.args["true"] for branch in node.args["ifs"]]
        return self._common([*branches, *filter(None, [node.args.get("default")])], scope)

    def _scalar(self, node: exp.Expr, scope: Mapping[str, Columns]) -> str | None:
        outputs = self.outputs(node)
        return outputs[0][1] if len(outputs) == 1 else None

    @staticmethod
    def _function(node: exp.Expr, scope: Mapping[str, Columns]) -> str | None:
        return {
            "MIN_ACTIVE_ROWVERSION": "binary(8)",
            "GETUTCDATE": "datetime",
            "HAS_PERMS_BY_NAME": "int",
            "IS_SRVROLEMEMBER": "int",
            "IS_ROLEMEMBER": "int",
            "DB_ID": "smallint",
        }.get(node.name.upper())


def _by_name(outputs: list[Output]) -> dict[str, str | None]:
    return {name.lower(): declared for name, declared in outputs}
