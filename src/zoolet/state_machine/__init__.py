"""The state machine: it turns requests into txns, and txns into the next state, replies and events.

This package contains the znode tree, the sessions, the watches and the access control. *prepare*
decides what a request changes, and fixes the time, zxid, sequence number and next version.
*apply* depends only on the state and the txn, so that a replay of the log produces the same state.
The package does no I/O, reads no clock, and uses neither asyncio nor random numbers: callers pass
the time and the requester as arguments. Of zoolet, it imports only ``model``.
"""
