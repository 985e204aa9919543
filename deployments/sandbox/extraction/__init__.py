"""What it takes to read a whole clinic: our reader, and plain reads of the same tables."""
