"""The commands `zoolet worker` and `zoolet jobs`."""
