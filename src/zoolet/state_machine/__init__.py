"""The state machine: requests become txns, txns become the next state, replies and watch events.

Owns the tree of znodes, sessions, watches and access control. *prepare* decides (time, zxid,
sequence, the next version are fixed there); *apply* is a function of state and txn, so that replay
of a log gives the same state again. No I/O, no clock, no asyncio, no chance: what time it is, and
who asks, come in as arguments. Imports nothing of zoolet but ``model``.
"""
