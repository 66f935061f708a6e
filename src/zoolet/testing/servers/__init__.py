"""The servers of tests: embedded, in a process of their own, and Apache ZooKeeper."""
