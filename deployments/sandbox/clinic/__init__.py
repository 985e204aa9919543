"""The demo dental clinic: IDENT's schema, a seeded generator and a simulator of an hour or a day."""
