"""The result store, which has the results that are too large for a znode, and its choice."""
