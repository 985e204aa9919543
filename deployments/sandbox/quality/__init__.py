"""What validating costs: our suites against pandera on the same checks, each in a process of its own."""
