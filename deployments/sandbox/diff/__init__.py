"""How long it takes to find what changed, and in how much memory: ours, datacompy, plain pandas."""
