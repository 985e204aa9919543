"""What a supporter would ask about a machine and its installation, and the bundle that tells it."""
