"""What to write: chains of rescheduled appointments, the difference to the snapshot, identities in amoCRM.

Pure functions over frames and records; nothing here reads a database or calls an API.
"""
