"""What was sent: the ledger that makes "never twice" and "never lost" countable.

No value of a patient is kept here, only ids, keyed hashes, field names and codes.
"""
