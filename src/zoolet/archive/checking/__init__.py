"""``zoolet archive check``: reads a whole archive and lists damage and gaps."""
