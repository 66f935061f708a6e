"""This package moves data between one server and an ensemble of Apache ZooKeeper (``commands``).

Invariants: a tool deletes nothing and changes no existing data directory, except that it writes or
removes the marker (``storage/ensemble_marker.py``). A new directory is complete, or it does not
exist.
"""
