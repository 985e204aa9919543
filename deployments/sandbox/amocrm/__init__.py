"""A stand-in amoCRM account: API v4 as documented, kept in memory, strict on purpose."""
