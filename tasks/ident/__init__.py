"""The source: IDENT's SQL Server database, read only."""
