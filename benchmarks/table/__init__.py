"""The table of ``make bench`` and ``make bench-large``: zoolet beside Redis, Apache, and itself.

``python -m benchmarks.table --list`` prints the rows. ``rows`` computes and shows the table,
``running`` runs the measurements, and each of the other modules has the rows of one kind.
"""
