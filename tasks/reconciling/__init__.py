"""Comparing IDENT, the ledger and amoCRM: what differs, and whose it is to repair.

Pure functions over ids and hashes; nothing here reads a database or calls an API, and no value of a person
enters a finding.
"""
