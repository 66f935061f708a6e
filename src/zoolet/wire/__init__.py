"""ZooKeeper's serialisation: bytes to the values of ``zoolet.model`` and back.

Owns jute (ZooKeeper's record format), the frames on a connection and the records in a txn log.
Holds no state and does no I/O. Whatever bytes come in, the only error that leaves is
MalformedError. Imports nothing of zoolet but ``model``.
"""
