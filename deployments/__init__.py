"""How the transfer runs: command line, supervisor, sandbox."""
