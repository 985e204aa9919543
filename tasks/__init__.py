"""The steps of the transfer.

A module here is a thin Prefect step; a folder is a room of plain Python that knows nothing of Prefect and
nothing of the other rooms. ``frames``, ``records``, ``errors`` and ``settings`` are shared by all.
"""
