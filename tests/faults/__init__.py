"""The loader under faults: real processes, killed anywhere, against a stand-in that fails on demand."""
