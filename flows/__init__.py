"""What an operator can start; each module reads like the story of one run."""
