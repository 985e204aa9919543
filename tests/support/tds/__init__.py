"""A stand-in for SQL Server: speaks TDS 7.4 to real ODBC drivers and runs T-SQL SELECTs on DuckDB.

Start reading at `server.TdsServer` and `database.Database`.
"""
