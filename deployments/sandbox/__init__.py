"""Stand-ins for a demo and for tests: a clinic and an amoCRM account."""
