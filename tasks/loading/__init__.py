"""Writing to amoCRM so that nothing is lost, doubled or written over a person's work.

Every batch follows one protocol: the attempt is committed before its request leaves, the receipt after; a row
of the snapshot moves only with the receipt. What the room needs of the ledger, of amoCRM and of the mapping
it declares in ``ports``; the step module ``tasks.load`` supplies them.
"""
