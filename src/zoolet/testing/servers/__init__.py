"""The servers for tests: embedded, in a separate process, and Apache ZooKeeper."""
