"""Data Docs of one clinic: a page for every validation, an index, nothing but ids, counts and column names.

Great Expectations keeps the results and builds the site; the look is ours. Its stock pages fetch some fifteen
scripts and styles from foreign hosts and a logo that carries an id of the installation, and show nothing in a
network without internet. Ours are plain HTML with one style sheet beside them.
"""
