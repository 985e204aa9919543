"""Why a row is, or is not, in amoCRM: from collected facts to a story and a verdict.

Pure functions over ``facts``; the step module ``tasks.evidence`` collects them. Nothing here ever holds a
name, a phone or a comment: ids, codes, field names and times only.
"""
