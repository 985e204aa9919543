"""The destination: a thin, typed client of amoCRM's API v4."""
