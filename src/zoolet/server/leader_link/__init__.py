"""The link of an observer to the leader of its ensemble."""
