"""Data-quality suites: what must hold of a frame before it may reach amoCRM.

``patients`` and ``appointments`` declare the rules, each with what follows when it fails and what a person
does about it; ``custom`` adds the expectations that Great Expectations lacks; ``gate`` runs a suite and
splits a frame.
"""
