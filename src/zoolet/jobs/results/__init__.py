"""The store for results that are too large for a znode, and the choice of a queue's store."""
