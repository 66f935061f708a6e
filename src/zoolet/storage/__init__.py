"""Storage: the transaction log, snapshots, and recovery from them.

This package manages the files under ``dataDir/version-2``, which have exactly the formats of Apache
ZooKeeper (described in docs/formats/). Every access to a file goes through a ``Disk``, so that
tests can replace it. The package does not depend on connections or threads: callers decide in which
thread it runs. Of zoolet, it imports ``model``, ``wire`` and ``state_machine``.
"""
