"""Data-quality suites: what must hold of a frame before it may reach amoCRM.

The rules are JSON beside this file, so that an analyst can read and change them and a diff shows what
changed; ``custom`` adds the rules Great Expectations lacks, ``gate`` runs them and splits a frame.
"""
