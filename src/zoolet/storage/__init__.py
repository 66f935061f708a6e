"""Storage: the transaction log, snapshots, and recovery from them.

Owns the files under ``dataDir/version-2``, which are byte for byte Apache ZooKeeper's (described in
docs/formats/). Every access to a file goes through a ``Disk``, so that tests can put another in its
place. Knows nothing of connections or threads: who calls decides where it runs. Imports ``model``,
``wire`` and ``state_machine``.
"""
