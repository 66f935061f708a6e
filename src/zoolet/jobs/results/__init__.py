"""Results that are too large for a znode: the store, and which store a queue has."""
